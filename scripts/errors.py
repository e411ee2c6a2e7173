"""Errors that a caller may catch, and their report to a person: one line, no traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

#: Reason codes of rejected images. They are stable: tables, logs and servers may rely on them.
REASONS: dict[str, str] = {
    "unreadable": "the file cannot be opened",
    "not_dicom": "the file is not a DICOM file",
    "malformed": "the file's structure is nested too deeply or contradicts itself",
    "unsupported_sop": "the object is not a CR or DX radiograph",
    "no_pixels": "the object holds no pixel data",
    "truncated": "the file or its pixel data ends too early",
    "unsupported_syntax": "no decoder reads this transfer syntax",
    "not_gray": "the picture is not MONOCHROME1 or MONOCHROME2 with one sample per pixel",
    "multiframe": "the object holds more than one frame",
    "bad_geometry": "rows, columns, bits or the pixel data's length are out of bounds or contradict each other",
    "too_large": "the file, or what it inflates to, is larger than allowed",
    "decode_error": "the decoder failed, ran out of memory or ran out of time",
    "bad_lookup": "a rescale or lookup table of the image is malformed",
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
    """

    def __init__(self, expected: str, found: str, advice: str) -> None:
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

    def __init__(self, reason: str, path: str | Path, detail: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"expected one of {', '.join(REASONS)}, got {reason}")
        Exception.__init__(self, reason, str(path), detail)  # the arguments that pickle hands back to __init__
        self.reason, self.path, self.detail = reason, str(path), detail

    def __str__(self) -> str:
        return " ".join(f"{self.path}: {self.reason}: {REASONS[self.reason]} ({self.detail})".split())


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` in an exception's chain of causes, if any (MONAI wraps what its components raise)."""
    while error is not None:
        if isinstance(error, InputError):
            return error
        error = error.__cause__ or error.__context__
    return None


def report_input_errors() -> None:
    """Print bad input as one line instead of a traceback, also out of `python -m monai.bundle run`; exit status 1."""

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        found = find_input_error(error)
        if found is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            print(f"error: {found}", file=sys.stderr)

    sys.excepthook = excepthook
