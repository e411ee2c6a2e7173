"""Errors that a caller may catch, and their report to a person: one line, no traceback."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

#: Reason codes of rejected images. They are stable: tables, logs and servers may rely on them.
REASONS: dict[str, str] = {
    "unreadable": "the file cannot be opened",
    "not_dicom": "the file is not a DICOM file",
    "malformed": "the file's structure is nested too deeply or contradicts itself",
    "unsupported_sop": "the object is not, or does not say that it is, a CR or DX radiograph",
    "no_pixels": "the object holds no pixel data",
    "truncated": "the file or its pixel data ends too early",
    "unsupported_syntax": "no decoder reads this transfer syntax",
    "not_gray": "the picture is not MONOCHROME1 or MONOCHROME2 with one sample per pixel",
    "multiframe": "the object holds more than one frame",
    "bad_geometry": "rows, columns, bits or the pixel data's length are out of bounds or contradict each other",
    "too_large": "the file, or what it inflates to, is larger than allowed",
    "decode_error": "the decoder failed, ran out of memory or ran out of time",
    "bad_lookup": "the image's rescale or Modality LUT is malformed",
    "bad_values": "the pixels are constant or not finite",
    "out_of_scope": "the image is readable but not an adult frontal chest radiograph for presentation",
}

#: The table of rejected images.
REJECTED_FILE = "rejected.csv"
REJECTED_COLUMNS: tuple[str, ...] = ("image_id", "study_id", "reason", "path", "detail")


class InputError(Exception):
    """Bad input: what was expected, what was found, what to do, in one line.

    Args:
        expected: what a valid input looks like.
        found: what was there instead; never a patient's name or number.
        advice: what the user can do about it.
        message: instead of these, the text of such an error with the traceback before it: so torch brings an error out
            of a worker of its data loader.
    """

    #: What is not empty here is how torch knows that an error takes its text by this name.
    message: str | None = "expected, found, advice"

    def __init__(self, expected: str = "", found: str = "", advice: str = "", message: str = "") -> None:
        if message:
            expected, found, advice = _split_message(message)
        super().__init__(expected, found, advice)
        self.expected, self.found, self.advice = expected, found, advice

    def __str__(self) -> str:
        return " ".join(f"expected {self.expected}, found {self.found}; {self.advice}".split())


class RejectedImage(InputError):
    """One image that is not read.

    Args:
        reason: a key of `REASONS`.
        path: the file.
        detail: what was found in it; never a patient's name or number.
    """

    message = None

    def __init__(self, reason: str, path: str | Path, detail: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"expected one of {', '.join(REASONS)}, got {reason}")
        Exception.__init__(self, reason, str(path), detail)  # the arguments that pickle hands back to __init__
        self.reason, self.path, self.detail = reason, str(path), detail

    def __str__(self) -> str:
        return " ".join(f"{self.path}: {self.reason}: {REASONS[self.reason]} ({self.detail})".split())


class Stopped(SystemExit):
    """A run that a signal stopped in good order; the exit status is 128 + the signal's number, as a shell has it.

    Args:
        cause: name of the signal.
        status: of the process.
    """

    def __init__(self, cause: str, status: int) -> None:
        super().__init__(status)
        self.cause = cause

    def __str__(self) -> str:
        return f"stopped by {self.cause}"


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` in an exception's chain of causes, if any (MONAI wraps what its components raise)."""
    return next((each for each in _list_causes(error) if isinstance(each, InputError)), None)


@contextmanager
def reveal_input_errors() -> Iterator[None]:
    """Raise an `InputError` that MONAI wrapped as itself: a worker of a data loader hands on no chain of causes."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if found := find_input_error(error):
            raise found from None
        raise


def explain_error(error: BaseException | None) -> InputError | None:
    """The line for an error that is no fault of the code: bad input, a full disk, a killed worker, Ctrl-C."""
    found = find_input_error(error)
    for each in _list_causes(error):
        found = found or _explain_system_error(each)
    return found


def report_input_errors() -> None:
    """Print bad input as one line instead of a traceback, also out of `python -m monai.bundle run`; exit status 1.

    So are faults of the machine: a full disk, a folder that cannot be written, a killed worker, too little memory; and
    Ctrl-C, whose exit status is 130. Any other error is a fault of the code and keeps its traceback.
    """

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        found = explain_error(error)
        if found is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            print(f"error: {found}", file=sys.stderr)

    sys.excepthook = excepthook


_AGAIN = "then start the same command again; a training goes on with --resume true"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_DEAD_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:exited unexpectedly|is killed by signal: \w+)"
)


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))  # an error that was raised again out of its own chain closes a circle
        yield error
        error = error.__cause__ or error.__context__


def _explain_system_error(error: BaseException) -> InputError | None:
    if isinstance(error, KeyboardInterrupt):
        return InputError("the run's end", "Ctrl-C before it", f"nothing that was finished is lost; {_AGAIN[5:]}")
    if isinstance(error, OSError):
        place = f"{error.strerror or error}{f' at {error.filename}' if error.filename else ''}"
        if error.errno in _FULL:
            return InputError("space for the outputs", place, f"free some, {_AGAIN}")
        if error.errno in _FORBIDDEN:
            return InputError("a folder that can be read and written", place, "change its permissions, or name another")
        if error.errno == errno.EIO:
            return InputError("a disk that reads and writes", place, f"check the disk, {_AGAIN}")
        return None
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return InputError("enough memory", "none left", f"lower --batch_size or --num_workers, {_AGAIN}")
    if isinstance(error, RuntimeError) and (dead := _DEAD_WORKER.search(str(error))):
        advice = f"mostly too little memory: lower --num_workers, {_AGAIN}"
        return InputError("workers that live until the end", dead[0], advice)
    if isinstance(error, RuntimeError) and "No space left on device" in str(error):  # torch's own writer
        return InputError("space for the outputs", "No space left on device", f"free some, {_AGAIN}")
    return None


def _split_message(message: str) -> tuple[str, str, str]:
    """The parts of the last line of a text that reads as such an error does."""
    lines = re.findall(r"expected (.*?), found (.*); (.*)", message)
    return lines[-1] if lines else (message.strip().rpartition("\n")[2], "an error", "see above")
