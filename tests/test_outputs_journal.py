"""Journal of an inference: a kill at any instant loses no finished batch, and the rest comes out as without it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import Dataset
from monai.transforms import Compose, EnsureTyped
from scripts.datalist import StreamingDataLoader, list_images
from scripts.errors import InputError
from scripts.files import TEMPORARY_PREFIX
from scripts.labels import STUDY_CLASSES
from scripts.output_folders import LOCK
from scripts.outputs import FindingsWriter, InferenceJournal, claim_results, journal, outcome
from scripts.outputs.identity import hash_images
from scripts.outputs.journal import JOURNAL_FILE, RESULTS
from scripts.predictions import DUPLICATE, SAME_UID, NonFinitePrediction, read_done, read_predictions
from scripts.transforms import LoadRadiographd

from tests import images as made
from tests.configs import INFERENCE

CANARY = "CANARY"


def write_folder(folder: Path, number: int = 7) -> Path:
    """Studies of two images each in one folder, and three files that are no images between them."""
    folder.mkdir(parents=True)
    for seed in range(number):
        image = made.make_image(made.draw_values(seed=seed))
        image.StudyInstanceUID, image.PatientName = f"1.2.3.{seed // 2}", CANARY
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{seed}"
        made.write_image(folder / f"{seed}.dcm", image)
    for name in ("1x", "4x", "9x"):
        (folder / f"{name}.dcm").write_text(f"no image of {CANARY}")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("journal") / "in")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    path.write_bytes(b"weights")
    return path


def predict(item: Mapping[str, Any], out_of_scope: bool) -> dict[str, Any]:
    """Findings that depend on the pixels, one of six images out of scope."""
    mean = float(item["image"].mean())
    rest = (1 - mean) / 3
    return {
        "probabilities": dict(zip(STUDY_CLASSES, (mean, rest, rest, rest), strict=True)),
        "none": mean,
        "boxes": [[1.0, 2.0, 3.0 + mean, 4.0]],
        "scores": [mean / 3],
        "crop_box": [0.0, 0.0, 8.0, 8.0],
        "flags": ["window"],
        "out_of_scope": "no chest" if out_of_scope else "",
    }


def infer(
    folder: Path,
    out: Path,
    weights: Path,
    num_workers: int = 0,
    options: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    uid: Callable[[Path], str] | None = None,
    version: str = "1",
    replace: bool = False,
    pages: bool = False,
) -> InferenceJournal:
    """A run over a folder, as inference.json wires it, with findings in place of networks."""
    load: list[Any] = [LoadRadiographd(), EnsureTyped("image", track_meta=False)]
    listed = [{**image, "image_id": Path(image["image"]).stem} for image in list_images(folder)]
    run = InferenceJournal(out, listed, {"model": weights}, options or {"size": 8}, version, replace)

    def attach_path(item: dict[str, Any]) -> dict[str, Any]:
        item = {**item, "path": item["image"]}
        return {**item, "sop_instance_uid": uid(Path(item["path"]))} if uid else item

    loader = StreamingDataLoader(
        Dataset(listed, Compose([attach_path, *load])),
        batch_size=2,
        num_workers=num_workers,
        rejected_file=out / "rejected.csv",
        journal=run,
    )

    def iterate(engine: Engine, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                "pred": torch.ones(tuple(item["image"].shape[:0:-1]), dtype=torch.uint8),
                "result": change(predict(item, item["image_id"] == "3")),
            }
            for item in batch
        ]

    engine = Engine(iterate)
    FindingsWriter(
        out, weights={"model": weights}, pixels_key="image", journal=run, overlays=3, study_pages=pages
    ).attach(engine)
    run.claim()
    engine.run(loader, max_epochs=1)
    run.finish()
    return run


def run_until(number: int, act: Callable[[], Any], signal_number: int = signal.SIGKILL) -> int:
    """Run in a fork that sends itself a signal when it synchronises a file for the n-th time; its exit status."""
    child = os.fork()
    if child == 0:
        synchronise, count = os.fsync, [0]

        def count_down(descriptor: int) -> None:
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal_number)
            synchronise(descriptor)

        os.fsync = count_down
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
        status = 99
        try:
            act()
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read_all(folder: Path) -> dict[str, bytes]:
    """Contents by path, without the lock and what was not written to its end."""
    files = (
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((LOCK, TEMPORARY_PREFIX))
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(folder: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Everything that a run without interruption leaves."""
    out = tmp_path_factory.mktemp("whole") / "out"
    infer(folder, out, weights)
    return read_all(out)


def test_a_run_leaves_its_results_and_no_journal(whole: dict[str, bytes]):
    done = json.loads(whole["done.json"])
    assert (done["found"], done["images"], done["rejected"]) == (10, 6, {"not_dicom": 3, "out_of_scope": 1})
    assert JOURNAL_FILE not in whole and len([name for name in whole if name.startswith("masks/")]) == 6
    assert len([name for name in whole if name.startswith("overlays/")]) == 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_that_was_killed_at_any_write_ends_as_one_that_was_not(
    folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path, num_workers: int
):
    outcomes, again = [], 0
    for number in range(1 + num_workers, 200, 5):
        out = tmp_path / str(number)
        outcomes.append(run_until(number, lambda out=out: infer(folder, out, weights, num_workers)))
        if outcomes[-1] == 0:
            break
        again += (out / JOURNAL_FILE).is_file()
        left = {name for name in read_all(out) if name in ("done.json",)}
        if not left:
            assert run_until(0, lambda out=out: infer(folder, out, weights, num_workers)) == 0
        assert {**read_all(out), JOURNAL_FILE: b""} == {**whole, JOURNAL_FILE: b""}, f"killed at write {number}"
    assert outcomes[-1] == 0 and set(outcomes[:-1]) == {-signal.SIGKILL} and again > 5


def test_pages_of_a_run_that_was_killed_are_those_of_one_that_was_not(folder: Path, weights: Path, tmp_path: Path):
    infer(folder, tmp_path / "whole", weights, pages=True)
    whole = read_all(tmp_path / "whole")
    assert "index.html" in whole and len([name for name in whole if name.startswith("studies/images/")]) == 6
    for number in (9, 33, 60, 75):
        out = tmp_path / str(number)
        assert run_until(number, lambda out=out: infer(folder, out, weights, pages=True)) == -signal.SIGKILL
        infer(folder, out, weights, pages=True)
        assert read_all(out) == whole, f"killed at write {number}"
    infer(folder, tmp_path / "whole", weights, replace=True)
    assert not [name for name in read_all(tmp_path / "whole") if name.startswith("studies/") or name == "index.html"]
    assert not (tmp_path / "whole" / "studies").exists()


def test_what_was_finished_is_not_predicted_again(folder: Path, weights: Path, tmp_path: Path):
    """The second of four batches is being written when the kill comes."""
    asked = tmp_path / "asked"

    def count(result: dict[str, Any]) -> dict[str, Any]:
        with asked.open("a") as file:
            file.write("x")
        return result

    out = tmp_path / "out"
    number = next(
        number
        for number in range(1, 60)
        if not shutil.rmtree(out, ignore_errors=True)
        and run_until(number, lambda: infer(folder, out, weights)) < 0
        and (out / JOURNAL_FILE).is_file()
        and (out / JOURNAL_FILE).read_bytes().count(b"\n") == 2
    )
    assert number > 4
    infer(folder, out, weights, change=count)
    assert len(asked.read_text()) == 7 - 2


def test_a_second_kill_and_a_third_cost_no_more(folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path):
    statuses = [run_until(20, lambda: infer(folder, tmp_path, weights)) for _ in range(6)]
    assert statuses[0] == -signal.SIGKILL and statuses[-1] in (0, 99)
    assert {**read_all(tmp_path), JOURNAL_FILE: b""} == {**whole, JOURNAL_FILE: b""}


def interrupt(folder: Path, out: Path, weights: Path, number: int = 24) -> Path:
    assert run_until(number, lambda: infer(folder, out, weights)) == -signal.SIGKILL
    assert (out / JOURNAL_FILE).read_bytes().count(b"\n") >= 2
    return out / JOURNAL_FILE


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_last_line_is_dropped(folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path, cut: int):
    file = interrupt(folder, tmp_path, weights)
    file.write_bytes(file.read_bytes()[:-cut])
    infer(folder, tmp_path, weights)
    assert read_all(tmp_path) == whole


def test_a_journal_torn_in_its_head_is_begun_anew(folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path):
    (tmp_path / JOURNAL_FILE).write_bytes(b'0123456789abcdef {"version"')
    infer(folder, tmp_path, weights)
    assert read_all(tmp_path) == whole


def test_a_changed_line_is_named_and_nothing_is_taken_from_it(folder: Path, weights: Path, tmp_path: Path):
    file = interrupt(folder, tmp_path, weights)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b'"version":"1"', b'"version":"2"')
    file.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"a journal as it was written, found a changed line 1 in .*--replace true"):
        infer(folder, tmp_path, weights)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"options": {"size": 9}}, "options"),
        ({"version": "2"}, "version"),
        ({"weights": b"other"}, "weights"),
        ({"folder": "another"}, "images"),
        ({"folder": "one more"}, "images"),
    ],
    ids=lambda value: str(value),
)
def test_another_runs_journal_is_rejected_in_one_line(
    folder: Path, weights: Path, tmp_path: Path, changes: dict[str, Any], named: str
):
    out, changes = tmp_path / "out", dict(changes)
    given = tmp_path / "in"
    shutil.copytree(folder, given)
    interrupt(given, out, weights)
    before = read_all(out)
    if "weights" in changes:
        (tmp_path / "other.pt").write_bytes(changes.pop("weights"))
        changes["weights"] = tmp_path / "other.pt"
    kind = changes.pop("folder", "")
    if kind == "another":
        made.write_image(given / "2.dcm", made.make_image(made.draw_values(seed=50)))
    elif kind:
        shutil.copy(given / "2.dcm", given / "zz.dcm")
    with pytest.raises(InputError, match=rf"the unfinished run of .* again, found another one: {named} differ; repeat"):
        infer(given, out, **{"weights": weights, **changes})
    assert read_all(out) == before


def test_replace_removes_an_unfinished_run(folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path):
    interrupt(folder, tmp_path, weights)
    infer(folder, tmp_path, weights, options={"size": 9}, replace=True)
    assert read_all(tmp_path) == whole


def test_a_replacing_run_that_was_killed_goes_on_by_the_same_command(
    folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    interrupt(folder, tmp_path, weights)
    with caplog.at_level("INFO"):
        infer(folder, tmp_path, weights, replace=True)
    assert "going on behind" in caplog.text and read_all(tmp_path) == whole


def test_replace_removes_a_journal_that_was_changed(
    folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path
):
    file = interrupt(folder, tmp_path, weights)
    file.write_bytes(file.read_bytes().replace(b'"version":"1"', b'"version":"2"'))
    infer(folder, tmp_path, weights, replace=True)
    assert read_all(tmp_path) == whole


def test_a_finished_run_is_rejected_unless_it_is_to_be_replaced(folder: Path, weights: Path, tmp_path: Path):
    infer(folder, tmp_path, weights)
    (tmp_path / "notes.txt").write_text("kept")
    (tmp_path / "dicom" / "mine").mkdir(parents=True)
    (tmp_path / "dicom" / "mine" / "image.dcm").write_text("kept")
    before = read_all(tmp_path)
    with pytest.raises(InputError, match=r"found those of a finished run in .*; name another --output_dir, or remove"):
        infer(folder, tmp_path, weights)
    assert read_all(tmp_path) == before
    claim_results(tmp_path, replace="true")
    assert set(read_all(tmp_path)) == {"notes.txt", "dicom/mine/image.dcm"}
    assert not (tmp_path / "masks").exists()


def test_done_is_the_first_of_earlier_results_to_go(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    infer(folder, tmp_path, weights)
    monkeypatch.setattr(journal, "remove_results", lambda found: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(InputError, match="I/O error"):
        infer(folder, tmp_path, weights, replace=True)
    left = read_all(tmp_path)
    assert "done.json" not in left and "images.csv" in left


def test_a_failed_replacement_leaves_nothing_of_the_earlier_run(folder: Path, weights: Path, tmp_path: Path):
    infer(folder, tmp_path, weights)

    def fail(result: dict[str, Any]) -> dict[str, Any]:
        raise InputError("a", "b", "c")

    with pytest.raises(InputError, match="expected a"):
        infer(folder, tmp_path, weights, change=fail, replace=True)
    assert set(read_all(tmp_path)) == {JOURNAL_FILE, "rejected.csv"}


def test_results_without_a_journal_are_another_runs(tmp_path: Path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").touch()
    with pytest.raises(InputError, match=r"found a\.png in"):
        claim_results(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("none", float("nan")), ("scores", [float("inf")]), ("boxes", [[0.0, 1.0, float("nan"), 3.0]])]
)
def test_a_prediction_that_is_not_finite_publishes_nothing(
    folder: Path, weights: Path, tmp_path: Path, key: str, value: Any
):
    with pytest.raises(
        NonFinitePrediction, match=r"expected finite predictions, found (nan|inf) in .*model\.pt.* on 0;"
    ):
        infer(folder, tmp_path, weights, change=lambda result: {**result, key: value})
    assert set(read_all(tmp_path)) == {JOURNAL_FILE, "rejected.csv"}


@pytest.mark.parametrize("number", [1, 2])
def test_sigterm_ends_behind_the_batch_with_143_and_the_run_goes_on(
    folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path, number: int
):
    """The signal comes while the first batch is written: it is on disk when the process ends."""
    started = 3 + 2 * number  # the journal's head and two of the table of rejected images come first
    assert run_until(started, lambda: infer(folder, tmp_path, weights), signal.SIGTERM) == 143
    assert (tmp_path / JOURNAL_FILE).read_bytes().count(b"\n") == 2, "head and one batch"
    infer(folder, tmp_path, weights)
    assert read_all(tmp_path) == whole


def test_ctrl_c_ends_with_130(folder: Path, weights: Path, tmp_path: Path):
    assert run_until(6, lambda: infer(folder, tmp_path, weights), signal.SIGINT) == 130


def test_a_signal_that_is_ignored_stays_ignored(folder: Path, weights: Path, tmp_path: Path):
    """As those of a terminal are for a command under nohup."""

    def run_ignoring() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        infer(folder, tmp_path, weights)

    assert run_until(6, run_ignoring, signal.SIGINT) == 0


def test_a_full_disk_is_one_line_and_the_run_goes_on_where_it_was(
    folder: Path, weights: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synchronise, count = os.fsync, [0]

    def fill(descriptor: int) -> None:
        count[0] += 1
        if count[0] > 20:
            raise OSError(28, "No space left on device")
        synchronise(descriptor)

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", fill)
        with pytest.raises(InputError, match=r"can be written, .*found No space left on device; .*the same command"):
            infer(folder, tmp_path, weights)
    left = read_all(tmp_path)
    assert "done.json" not in left and not list(tmp_path.rglob(f"{TEMPORARY_PREFIX}*"))
    infer(folder, tmp_path, weights)
    assert read_all(tmp_path) == whole


def test_an_output_folder_that_is_a_file_is_one_line(folder: Path, weights: Path, tmp_path: Path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="an output folder that can be written"):
        infer(folder, tmp_path / "out", weights)


def test_weights_that_are_missing_are_named_before_anything_is_written(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"found nothing at absent\.pt"):
        infer(folder, tmp_path, Path("absent.pt"))
    assert read_all(tmp_path) == {}


# one image twice


def test_an_image_found_twice_counts_once_in_its_study_and_is_flagged(
    folder: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    given = tmp_path / "in"
    shutil.copytree(folder, given)
    (given / "again").mkdir()
    shutil.copy(given / "0.dcm", given / "again" / "z.dcm")
    infer(given, tmp_path / "out", weights)
    images = {image.image_id: image for image in read_predictions(tmp_path / "out" / "predictions.json")}
    assert DUPLICATE in images["z"].flags and DUPLICATE not in images["0"].flags
    study = json.loads((tmp_path / "out" / "predictions.json").read_text())["studies"][images["0"].study_id]
    mean = np.mean([images[name].probabilities["negative"] for name in "01"])
    assert study["negative"] == pytest.approx(mean, abs=1e-12)
    rows = (tmp_path / "out" / "studies.csv").read_text().splitlines()
    assert [row for row in rows if row.startswith(images["0"].study_id)][0].endswith(",2")
    assert "0 and z are one image: it counts once" in caplog.text
    assert read_done(tmp_path / "out")[DUPLICATE] == 1


def test_the_same_pixels_in_another_study_count_there(folder: Path, weights: Path, tmp_path: Path):
    given = tmp_path / "in"
    shutil.copytree(folder, given)
    image = made.make_image(made.draw_values(seed=0))
    image.StudyInstanceUID = "1.2.3.77"
    made.write_image(given / "z.dcm", image)
    infer(given, tmp_path / "out", weights)
    flags = [image.flags for image in read_predictions(tmp_path / "out" / "predictions.json")]
    assert not [each for each in flags if DUPLICATE in each]


def test_two_images_of_one_uid_are_reported_and_both_scored(
    folder: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    infer(folder, tmp_path, weights, uid=lambda path: "1.2.5" if path.stem in "14" else f"1.2.9.{path.stem}")
    images = {image.image_id: image for image in read_predictions(tmp_path / "predictions.json")}
    assert {name for name, image in images.items() if SAME_UID in image.flags} == {"4"}
    assert "1 and 4 are different images of one SOP Instance UID: both are scored" in caplog.text
    assert (tmp_path / "masks" / "1.png").is_file() and (tmp_path / "masks" / "4.png").is_file()


def test_a_duplicate_is_known_across_a_kill(folder: Path, weights: Path, tmp_path: Path):
    given = tmp_path / "in"
    shutil.copytree(folder, given)
    shutil.copy(given / "0.dcm", given / "zz.dcm")
    interrupt(given, tmp_path / "out", weights)
    infer(given, tmp_path / "out", weights)
    infer(given, tmp_path / "whole", weights)
    assert read_all(tmp_path / "out") == read_all(tmp_path / "whole")
    assert read_done(tmp_path / "out")[DUPLICATE] == 1


# outcome


def run_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: int, rejected: dict[str, int]) -> int:
    monkeypatch.setattr(outcome, "is_command", lambda: True)
    record = {"found": scored + sum(rejected.values()), "images": scored, "studies": scored, "rejected": rejected}
    try:
        outcome.report_outcome(record, tmp_path)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


@pytest.mark.parametrize(
    ("scored", "rejected", "status"),
    [(2, {}, 0), (2, {"truncated": 1}, 3), (0, {"truncated": 1, "not_dicom": 2}, 4), (0, {"out_of_scope": 1}, 4)],
)
def test_the_exit_status_of_a_command_tells_all_some_and_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: int, rejected: dict[str, int], status: int
):
    assert run_outcome(tmp_path, monkeypatch, scored, rejected) == status


def test_the_summary_counts_every_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    run_outcome(tmp_path, monkeypatch, 2, {"not_dicom": 1, "truncated": 2})
    assert "5 images found; 2 scored in 2 studies; 3 rejected (not_dicom 1, truncated 2): see" in caplog.text
    assert str(tmp_path) in caplog.text


def test_a_program_that_runs_the_bundle_inside_is_not_ended(tmp_path: Path):
    outcome.report_outcome({"found": 2, "images": 1, "studies": 1, "rejected": {"truncated": 1}}, tmp_path)
    with pytest.raises(InputError, match="at least one image that can be scored, found 1 rejected, truncated 1"):
        outcome.report_outcome({"found": 1, "images": 0, "studies": 0, "rejected": {"truncated": 1}}, tmp_path)


def test_a_folder_without_any_image_ends_with_whole_tables(weights: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in "abcde":
        (tmp_path / "in" / name).write_text("no image")
    with pytest.raises(InputError, match="at least one image that can be scored, found 5 rejected, not_dicom 5"):
        infer(tmp_path / "in", tmp_path / "out", weights)
    assert {"done.json", "images.csv", "rejected.csv", "submission.csv"} <= set(read_all(tmp_path / "out"))


# identity


def test_every_option_of_the_config_is_part_of_the_identity_or_changes_nothing():
    config = json.loads(INFERENCE.read_text())
    options = {name for name, value in config.items() if not isinstance(value, dict) and not name.startswith("_")}
    wired = {"imports", "bundle_root", "dataset_dir", "datalist_file", "fold", "output_dir", "run", "inferring"}
    wired |= {"weights", "lung_weights", "opacity_weights", "handlers", "num_workers", "replace", "encoder_weights"}
    chosen = {name for name in options if config[name] != "$torch"} | {"encoder_options"}
    assert chosen - wired | {"boxes", "ensemble_weights"} == set(config["journal"]["options"])


def test_images_are_known_by_path_size_time_and_what_a_datalist_says(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "in")
    listed = list_images(tmp_path / "in")
    first = hash_images(listed)
    assert first == hash_images(list_images(tmp_path / "in"))
    os.utime(tmp_path / "in" / "0.dcm", (1, 1))
    assert first != hash_images(list_images(tmp_path / "in"))
    entries = [{"image": str(tmp_path / "in" / "0.dcm"), "image_id": "0", "study_id": "s", "lung_box": None}]
    moved = [{**entries[0], "lung_box": np.array([0, 0, 1, 1], dtype=np.float32)}]
    assert hash_images(entries) != hash_images(moved)


def test_neither_the_journal_nor_a_message_names_a_patient(
    folder: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "out"
    interrupt(folder, out, weights)
    texts = [*read_all(out).values()] + [name.encode() for name in read_all(out)]
    with pytest.raises(InputError) as raised:
        infer(folder, out, weights, version="2")
    infer(folder, out, weights)
    texts += [*read_all(out).values(), str(raised.value).encode(), caplog.text.encode()]
    assert not [text for text in texts if CANARY.encode() in text]


def test_results_are_files_that_a_run_writes(whole: dict[str, bytes]):
    patterns = {pattern.partition("/")[0] for pattern in RESULTS}
    assert {name.partition("/")[0] for name in whole} <= patterns
