"""Bad input is reported in one line, without a traceback, and survives the way out of a child process."""

from __future__ import annotations

import errno
import pickle
import sys

import pytest
from scripts.errors import (
    REASONS,
    InputError,
    RejectedImage,
    Stopped,
    explain_error,
    find_input_error,
    report_input_errors,
    reveal_input_errors,
)
from torch.utils.data import DataLoader, Dataset


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch):
    """The interpreter's hook at its end, with `report_input_errors` in place; undone after the test."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    report_input_errors()
    return sys.excepthook


def raise_wrapped(error: Exception) -> BaseException:
    """As MONAI wraps what its components raise: twice, once with a cause and once with a context only."""
    try:
        try:
            try:
                raise error
            except Exception as inner:
                raise RuntimeError("applying transform") from inner
        except RuntimeError:
            raise ValueError("while handling it")  # noqa: B904
    except ValueError as outer:
        return outer


def test_an_error_says_what_was_expected_what_was_found_and_what_to_do():
    error = InputError("a folder", "a file at x.csv", "check the path")
    assert str(error) == "expected a folder, found a file at x.csv; check the path"
    assert (error.expected, error.found, error.advice) == ("a folder", "a file at x.csv", "check the path")


@pytest.mark.parametrize("found", ["two\nlines", "a\ttab", "return\r\nand feed", "  blanks   in   a row "])
def test_an_error_is_one_line_whatever_was_found(found: str):
    assert len(str(InputError("one line", found, "look")).splitlines()) == 1
    assert len(str(RejectedImage("unreadable", found, found)).splitlines()) == 1


def test_a_rejected_image_names_its_file_and_its_reason():
    error = RejectedImage("truncated", "a/b.dcm", "12 of 20 bytes")
    assert str(error) == "a/b.dcm: truncated: the file or its pixel data ends too early (12 of 20 bytes)"
    assert isinstance(error, InputError), "one handler catches both"


def test_a_reason_is_one_of_the_list():
    with pytest.raises(ValueError, match="expected one of unreadable, .*, got odd"):
        RejectedImage("odd", "a.dcm", "")


@pytest.mark.parametrize("reason", REASONS)
def test_a_rejected_image_survives_pickling(reason: str):
    error = pickle.loads(pickle.dumps(RejectedImage(reason, "a.dcm", "why")))
    assert (error.reason, error.path, error.detail) == (reason, "a.dcm", "why")


def test_an_input_error_survives_pickling():
    error = InputError("a", "b", "c")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_bad_input_is_found_behind_what_monai_wraps_round_it():
    error = InputError("a", "b", "c")
    assert find_input_error(raise_wrapped(error)) is error
    assert find_input_error(error) is error


@pytest.mark.parametrize("error", [None, ValueError("x"), KeyError("y")])
def test_other_errors_hold_no_bad_input(error: Exception | None):
    assert find_input_error(error) is None


def test_bad_input_is_printed_as_one_line(hook, capsys: pytest.CaptureFixture[str]):
    error = raise_wrapped(InputError("a folder", "none", "check the path"))
    hook(type(error), error, error.__traceback__)
    assert capsys.readouterr().err == "error: expected a folder, found none; check the path\n"


def test_a_defect_keeps_its_traceback(hook, capsys: pytest.CaptureFixture[str]):
    error = raise_wrapped(KeyError("defect"))
    hook(type(error), error, error.__traceback__)
    reported = capsys.readouterr().err
    assert "Traceback" in reported and "KeyError: 'defect'" in reported


class FailingDataset(Dataset):
    """Items that a transform of MONAI's cannot make, for the reason that is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        with reveal_input_errors():
            raise raise_wrapped(self.error)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_input_comes_out_of_a_worker_as_itself(workers: int):
    error = InputError("an image, whole", "a cut one; at a.dcm", "fetch it again")
    with pytest.raises(InputError) as caught:
        list(DataLoader(FailingDataset(error), num_workers=workers))
    assert str(caught.value) == str(error)


def test_a_rejected_image_in_a_worker_still_says_why():
    with pytest.raises(RuntimeError, match=r"a\.dcm: truncated: "):
        list(DataLoader(FailingDataset(RejectedImage("truncated", "a.dcm", "cut")), num_workers=1))


FAULTS = {
    "full disk": (OSError(errno.ENOSPC, "No space left on device", "out/last.pt"), "space for the outputs"),
    "read-only": (
        PermissionError(errno.EROFS, "Read-only file system", "out"),
        "a folder that can be read and written",
    ),
    "disk": (OSError(errno.EIO, "Input/output error"), "a disk that reads and writes"),
    "memory": (MemoryError(), "enough memory"),
    "worker": (RuntimeError("DataLoader worker (pid 71) is killed by signal: Killed. "), "workers that live"),
    "workers": (RuntimeError("DataLoader worker (pid(s) 71, 72) exited unexpectedly"), "workers that live"),
    "Ctrl-C": (KeyboardInterrupt(), "the run's end"),
    "torch's writer": (RuntimeError("write failed: No space left on device"), "space for the outputs"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_the_machine_are_one_line(name: str, hook, capsys: pytest.CaptureFixture[str]):
    error, expected = FAULTS[name]
    hook(type(error), error, None)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: expected {expected}")


@pytest.mark.parametrize(
    "error", [ValueError("odd"), FileNotFoundError(errno.ENOENT, "none", "a"), RuntimeError("odd")]
)
def test_a_fault_of_the_code_keeps_its_traceback(error: Exception, hook, capsys: pytest.CaptureFixture[str]):
    hook(type(error), error, None)
    assert f"{type(error).__name__}: " in capsys.readouterr().err


def test_a_stopped_run_has_the_signals_status():
    assert (Stopped("SIGTERM", 143).code, str(Stopped("SIGTERM", 143))) == (143, "stopped by SIGTERM")


def test_a_circle_of_causes_has_an_end():
    """An error that is raised again out of its own chain is the context of what it caused."""
    found = InputError("an image", "half of one", "copy it again")

    def wrap() -> None:
        try:
            raise found
        except InputError as error:
            raise RuntimeError("wrapped") from error

    with pytest.raises(InputError) as caught, reveal_input_errors():
        wrap()
    assert caught.value.__context__ is not None
    assert explain_error(RuntimeError("another")) is None
    assert explain_error(caught.value) is found and explain_error(caught.value.__context__) is found


def test_a_circle_without_an_explanation_has_an_end_too():
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__context__, second.__context__ = second, first
    assert explain_error(first) is None
