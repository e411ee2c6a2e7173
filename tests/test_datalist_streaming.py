"""Inference reads each image once, in a limited child process; what cannot be read is listed and never predicted."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import Dataset
from monai.transforms import Compose
from scripts.checkpoints import save_weights
from scripts.datalist import FolderImages, StreamingDataLoader, list_images, read_datalist, streaming, validation_images
from scripts.errors import InputError
from scripts.radiographs import read_radiograph, reading, workers
from scripts.synthetic import write_image
from scripts.transforms import LoadRadiographd

from tests import images as made
from tests.configs import INFERENCE, METADATA
from tests.counting_worker import MARKS, count_decodes


@pytest.fixture
def decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """The process of every decoding that happened; children fail as `faulty_worker` does."""
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv(MARKS, str(marks))
    monkeypatch.setattr(workers, "WORKER", "tests.counting_worker")
    monkeypatch.setattr(workers, "_IDLE", {})
    monkeypatch.setattr(reading, "decode_stored_values", count_decodes(reading.decode_stored_values))
    return lambda: [int(path.name.partition("_")[0]) for path in marks.iterdir()]


def make_loader(folder: Path, isolated: bool = True, **options: Any) -> StreamingDataLoader:
    load = LoadRadiographd(isolated=isolated, accept_secondary_capture=options.pop("accept_secondary_capture", False))
    return StreamingDataLoader(Dataset([rename(image) for image in list_images(folder)], Compose([load])), **options)


def rename(image: dict[str, Any]) -> dict[str, Any]:
    """An image by the names of its file and folder, which a test can tell."""
    path = Path(image["image"])
    return {**image, "image_id": path.stem, "study_id": path.parts[-3]}


def read_all(loader: StreamingDataLoader) -> list[dict[str, Any]]:
    return [item for batch in loader for item in batch]


def name(items: list[dict[str, Any]]) -> list[str]:
    return [item["image_id"] for item in items]


def write_images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, each in enumerate(names):
        made.write_image(folder / f"{each}.dcm", made.make_image(made.draw_values(seed=seed)))
    return folder


def write_folder(folder: Path) -> Path:
    """Two studies: one of a good and a broken image, one of a broken one alone."""
    for study in ("study1", "study2"):
        (folder / study / "series").mkdir(parents=True)
    write_images(folder / "study1" / "series", "cut", "good")
    cut = folder / "study1" / "series" / "cut.dcm"
    cut.write_bytes(cut.read_bytes()[:3000])
    (folder / "study2" / "series" / "text.dcm").write_text("no image")
    return folder


def read_rejected(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# decoded once


@pytest.mark.parametrize("overlays", [-1, 0])
def test_inference_with_overlays_and_dicom_results_decodes_each_image_once_and_in_a_child(
    tmp_path: Path, decodes: Callable[[], list[int]], overlays: int
):
    for seed, each in enumerate("ab"):
        values = made.draw_values(rows=80, columns=96, seed=seed).astype(np.uint16)
        write_image(tmp_path / "in" / f"{each}.dcm", values)
    parser = ConfigParser()
    parser.read_config(str(INFERENCE))
    parser.read_meta(str(METADATA))
    changes = {
        "encoder": "test_efficientnet",
        "image_size": 64,
        "dataset_dir": str(tmp_path / "in"),
        "output_dir": str(tmp_path / "out"),
        "weights": str(tmp_path / "weights.pt"),
        "device": "$torch.device('cpu')",
        "precision": "float32",
        "overlays": overlays,
        "dicom_results": True,
        "dataloader#progress": "",
    }
    for key, value in changes.items():
        parser[key] = value
    save_weights(parser.get_parsed_content("network_def").state_dict(), tmp_path / "weights.pt")
    parser.get_parsed_content("evaluator").run()
    assert len(decodes()) == 2, "one decoding of each of two images"
    assert os.getpid() not in decodes()
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    ids = [image["image_id"] for image in list_images(tmp_path / "in")]
    assert {f"dicom/{each}/capture.dcm" for each in ids} <= written
    assert {path for path in written if path.startswith("overlays")} == {
        f"overlays/{each}.png" for each in ids if overlays
    }
    assert not (tmp_path / "out" / ".captures").exists()
    assert json.loads((tmp_path / "out" / "done.json").read_text())["dicom_results"] == {"images": 2, "left_out": 0}


def test_every_config_that_infers_decodes_in_a_child():
    """MONAI Label calls the preprocessing with one path."""
    preprocessing = json.loads(INFERENCE.read_text())["preprocessing"]["transforms"]
    (load,) = (each for each in preprocessing if each["_target_"].endswith("LoadRadiographd"))
    assert load["isolated"] is True


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_batches_are_the_same_for_every_number_of_workers_and_pixels_are_the_readers(tmp_path: Path, num_workers: int):
    write_images(tmp_path, *"abcdefg")
    (tmp_path / "c.dcm").write_text("no image")
    batches = list(make_loader(tmp_path, batch_size=3, num_workers=num_workers))
    assert [name(batch) for batch in batches] == [["a", "b", "d"], ["e", "f", "g"]]
    for item in (item for batch in batches for item in batch):
        alone = read_radiograph(tmp_path / f"{item['image_id']}.dcm").pixels
        assert item["image"].dtype == torch.float32
        np.testing.assert_array_equal(item["image"].numpy(), alone)


@pytest.mark.parametrize("fault", ["dies", "lies"])
def test_a_child_that_dies_costs_one_image(tmp_path: Path, decodes: Callable[[], list[int]], fault: str):
    write_images(tmp_path / "in", "a", fault, "s", "z")
    loader = make_loader(tmp_path / "in", batch_size=2, num_workers=2, rejected_file=tmp_path / "rejected.csv")
    assert name(read_all(loader)) == ["a", "s", "z"]
    (row,) = read_rejected(tmp_path / "rejected.csv")
    assert (row["image_id"], row["reason"]) == (fault, "decode_error")


def test_the_first_batch_is_there_before_the_last_images_are_read(tmp_path: Path, decodes: Callable[[], list[int]]):
    write_images(tmp_path / "in", *"abcdefghij")
    batches = iter(make_loader(tmp_path / "in", batch_size=2, num_workers=1))
    assert name(next(batches)) == ["a", "b"]
    assert len(decodes()) <= 6
    batches.close()  # type: ignore[attr-defined]


# what is in flight is bounded


def test_large_images_come_in_smaller_batches(tmp_path: Path):
    write_images(tmp_path, *"abcde")  # 80 x 72 pixels each
    batches = list(make_loader(tmp_path, isolated=False, batch_size=4, max_batch_pixels=2 * 80 * 72))
    assert [name(batch) for batch in batches] == [["a", "b"], ["c", "d"], ["e"]]


class Large(Dataset):
    """Images of the size of flat panels, which take no memory here; how many lived when the next one was made."""

    def __init__(self, number: int) -> None:
        super().__init__([{"image_id": str(each), "study_id": "s"} for each in range(number)])
        self.images: list[weakref.ref[torch.Tensor]] = []
        self.most = 0

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        self.most = max(self.most, sum(image() is not None for image in self.images))
        image = torch.zeros(1, 1, 1).expand(1, 4280, 3520)
        self.images.append(weakref.ref(image))
        return {**self.data[index], "image": image}


def test_few_large_images_are_held_at_a_time():
    """A batch and what waits are five images each; the batch before is let go."""
    dataset = Large(40)
    batches = iter(StreamingDataLoader(dataset, batch_size=16))
    assert [len(next(batches)) for _ in range(8)] == [5] * 8
    assert dataset.most <= 5 + 5 + 1


def test_a_batch_is_let_go_before_the_next_one_is_built():
    dataset = Large(16)
    batches = iter(StreamingDataLoader(dataset, batch_size=4, max_waiting_pixels=1))
    assert [len(next(batches)) for _ in range(4)] == [4] * 4
    assert dataset.most <= 4 + 1 + 1


class Counted(Dataset):
    """Images of 100 pixels; how many of them were made and not taken yet."""

    def __init__(self, number: int) -> None:
        super().__init__([{"image_id": str(each), "study_id": "s"} for each in range(number)])
        self.made, self.lock = 0, threading.Lock()

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        with self.lock:
            self.made += 1
        return {**self.data[index], "image": torch.zeros(1, 10, 10)}


@pytest.mark.parametrize("num_workers", [1, 3])
def test_few_images_wait_for_the_networks(num_workers: int):
    dataset, taken = Counted(40), 0
    loader = StreamingDataLoader(dataset, batch_size=1, num_workers=num_workers)
    for _ in streaming._read_ahead(dataset, 16, num_workers, max_waiting_pixels=300):
        taken += 1
        threading.Event().wait(0.01)
        assert dataset.made - taken <= 3 + num_workers
    assert taken == len(loader.dataset) == 40


def test_a_dataset_that_fails_for_another_reason_stops_the_run(tmp_path: Path):
    class Broken(Counted):
        def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        list(StreamingDataLoader(Broken(20), num_workers=2))


def test_a_large_folder_is_listed_without_opening_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_images(tmp_path, *"abc")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was opened"))
    assert len(list_images(tmp_path)) == 3
    monkeypatch.undo()
    listed = FolderImages(tmp_path)
    assert [Path(image["image"]).stem for image in listed[1:]] == ["b", "c"] and listed[-1] == listed[2]


# what is rejected


def test_images_that_cannot_be_read_are_left_out_and_reported_with_their_reason(tmp_path: Path):
    rejected_file = tmp_path / "out" / "rejected.csv"
    items = read_all(make_loader(write_folder(tmp_path / "in"), isolated=False, rejected_file=rejected_file))
    assert [(item["image_id"], item["study_id"]) for item in items] == [("good", "study1")]
    rows = read_rejected(rejected_file)
    assert [(row["image_id"], row["study_id"], row["reason"]) for row in rows] == [
        ("cut", "study1", "truncated"),
        ("text", "study2", "not_dicom"),
    ]
    assert all(Path(row["path"]).is_file() and row["detail"] for row in rows)


def test_the_table_of_rejected_images_grows_while_the_run_goes_on(tmp_path: Path):
    write_images(tmp_path / "in", *"bcde")
    (tmp_path / "in" / "a.dcm").write_text("no image")
    (tmp_path / "in" / "f.dcm").write_text("no image")
    loader = make_loader(tmp_path / "in", isolated=False, batch_size=2, rejected_file=tmp_path / "rejected.csv")
    seen = [[row["image_id"] for row in read_rejected(tmp_path / "rejected.csv")] for _ in loader]
    assert seen[0] == ["a"]
    assert [row["image_id"] for row in read_rejected(tmp_path / "rejected.csv")] == ["a", "f"]


def test_the_table_of_rejected_images_is_written_also_where_it_stays_empty(tmp_path: Path):
    write_images(tmp_path / "in", "a")
    assert len(read_all(make_loader(tmp_path / "in", isolated=False, rejected_file=tmp_path / "rejected.csv"))) == 1
    assert (tmp_path / "rejected.csv").read_text() == "image_id,study_id,reason,path,detail\n"


def test_a_run_reports_how_many_images_were_rejected_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        read_all(make_loader(write_folder(tmp_path), isolated=False))
    assert "2 of 3 images rejected, not_dicom 1, truncated 1" in caplog.text


def test_a_run_of_which_nothing_can_be_read_is_an_error_and_its_table_is_written(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.dcm").write_text("no image")
    with pytest.raises(InputError, match=r"at least one readable image, found 1 rejected, not_dicom 1; see .*rejected"):
        read_all(make_loader(tmp_path / "in", isolated=False, rejected_file=tmp_path / "rejected.csv"))
    assert [row["reason"] for row in read_rejected(tmp_path / "rejected.csv")] == ["not_dicom"]


def test_the_advice_names_a_table_only_where_one_was_written(tmp_path: Path):
    (tmp_path / "text.dcm").write_text("no image")
    with pytest.raises(InputError) as caught:
        read_all(make_loader(tmp_path, isolated=False))
    assert "rejected.csv" not in str(caught.value)


@pytest.mark.parametrize("make", [True, False], ids=["empty", "absent"])
def test_a_folder_without_images_is_rejected(tmp_path: Path, make: bool):
    if make:
        (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="expected a folder of DICOM images"):
        list_images(tmp_path / "in")


def test_reader_options_decide_what_is_rejected(tmp_path: Path):
    made.write_image(tmp_path / "a.dcm", made.make_image(SOPClassUID=made.SECONDARY_CAPTURE))
    with pytest.raises(InputError, match="unsupported_sop 1"):
        read_all(make_loader(tmp_path, isolated=False))
    assert read_all(make_loader(tmp_path, isolated=False, accept_secondary_capture=True))


# images of a datalist


def test_images_of_a_datalist_bring_their_ids_and_lung_boxes(images: Path, datalist_file: Path):
    found = list_images(images, datalist_file)
    assert found and all(each["lung_box"] is not None and "label" not in each for each in found)
    assert {Path(each["image"]).stem for each in found} == {each["image_id"] for each in found}


def test_the_images_of_a_fold_are_those_that_were_held_out(images: Path, datalist_file: Path):
    found = list_images(images, datalist_file, fold=2)
    expected = [each for each in read_datalist(datalist_file)["training"] if each["fold"] == 2]
    assert [each["image_id"] for each in found] == [each["image_id"] for each in expected]
    assert all("label" in each and each["fold"] == 2 and Path(each["image"]).is_file() for each in found)


def test_a_fold_that_is_not_there_is_rejected(images: Path, datalist_file: Path):
    with pytest.raises(InputError, match="expected a fold from 0 to 2, found fold 3"):
        list_images(images, datalist_file, fold=3)


def test_an_image_of_a_fold_that_cannot_be_read_is_left_out_and_reported(
    images: Path, datalist_file: Path, tmp_path: Path
):
    tree = shutil.copytree(images, tmp_path / "images")
    first, *others = validation_images(datalist_file, tree, 0)
    Path(first["image"]).write_text("no image")
    dataset = Dataset(list_images(tree, datalist_file, 0), LoadRadiographd())
    found = read_all(StreamingDataLoader(dataset, rejected_file=tmp_path / "rejected.csv"))
    assert [each["image_id"] for each in found] == [each["image_id"] for each in others]
    (row,) = read_rejected(tmp_path / "rejected.csv")
    assert (row["image_id"], row["study_id"], row["reason"]) == (first["image_id"], first["study_id"], "not_dicom")


@pytest.mark.parametrize("size", [0, -1, 1.5, "abc"])
def test_a_batch_has_at_least_one_image(size: Any):
    """With none nothing would be read, and the run would say that all was well."""
    with pytest.raises(InputError, match=f"expected a batch_size of 1 or more, found {size!r}"):
        StreamingDataLoader(Large(1), batch_size=size)
