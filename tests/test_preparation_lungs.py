"""Lungs are found for the images that the inferer has not seen; annotated boxes are kept, and nothing else changes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scripts.boxes import compute_iou
from scripts.checkpoints import save_weights
from scripts.datalist import read_datalist, test_images, training_images, validation_images, write_datalist
from scripts.errors import InputError, RejectedImage
from scripts.inferers import LungInferer, Lungs, read_lung_inferer
from scripts.labels import LUNG_TABLE_COLUMNS
from scripts.metrics import report_lungs
from scripts.networks import LungDetector
from scripts.preparation import lungs as datalists
from scripts.preparation.lungs import find_lungs
from scripts.radiographs import read_radiograph
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
FOLD = 1

Inferer = Callable[[Sequence[torch.Tensor]], list[Lungs]]


class InsetInferer:
    """Finds lungs a tenth of the image within its edges, or none where it is reported so; it remembers its batches.

    Args:
        without: places, in the order of asking, of images without lungs.
    """

    def __init__(self, *without: int) -> None:
        self.without, self.batches, self.asked = without, [], 0

    def __call__(self, images: Sequence[torch.Tensor]) -> list[Lungs]:
        self.batches.append(len(images))
        return [self._find(image) for image in images]

    def _find(self, image: torch.Tensor) -> Lungs:
        assert image.dtype == torch.float32 and image.shape[0] == 1
        self.asked += 1
        if self.asked - 1 in self.without:
            return Lungs(None, 0.25, 0.3, ("no_lungs",))
        height, width = image.shape[1:]
        return Lungs((0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height), 0.875, 0.01, ("rotated",))


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are read in this process: starting another one takes longer than reading them all."""

    def read(paths: Sequence[Path], workers: int) -> Any:
        return [(path, read_radiograph(path)) for path in paths]

    monkeypatch.setattr(datalists, "read_radiographs", read)


@pytest.fixture
def find(images: Path, datalist_file: Path, tmp_path: Path, read_here: None) -> Callable[..., dict[str, Lungs]]:
    """The call with the synthetic images, into a folder `out`."""

    def run(
        lung_inferer: Inferer, datalist: Path = datalist_file, out: str = "out", **options: Any
    ) -> dict[str, Lungs]:
        return find_lungs(lung_inferer, datalist, images, tmp_path / out, **{"fold": FOLD, **options})

    return run


def list_images(datalist: dict[str, Any], fold: int | list[int] | None = FOLD) -> list[dict[str, Any]]:
    """Those whose lungs are looked for: of a fold or several, and without label."""
    folds = fold if isinstance(fold, list) else [fold]
    return [image for image in datalist["training"] if image["fold"] in folds] + datalist["test"]


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("fold", [FOLD, 0, [0, 2], None])
def test_only_the_fold_and_the_images_without_label_change(
    find: Callable[..., Any], datalist_file: Path, tmp_path: Path, fold: int | list[int] | None
):
    found = find(InsetInferer(), fold=fold)
    before, after = read_datalist(datalist_file), read_datalist(tmp_path / "out" / "datalist.json")
    looked_for = {image["image_id"] for image in list_images(before, fold)}
    assert set(found) == looked_for and 0 < len(looked_for) < len(before["training"])
    assert {name: value for name, value in after.items() if name not in ("training", "test", "content_hash")} == {
        name: value for name, value in before.items() if name not in ("training", "test", "content_hash")
    }
    for part in ("training", "test"):
        assert len(after[part]) == len(before[part])
        for old, new in zip(before[part], after[part], strict=True):
            if old["image_id"] in looked_for:
                box = [0.1 * old["width"], 0.1 * old["height"], 0.9 * old["width"], 0.9 * old["height"]]
                changed = {
                    "annotated_lung_box": old["lung_box"],
                    "lung_flags": ["rotated"],
                    "lung_box": pytest.approx(box),
                }
                assert new == old | changed
            else:
                assert new == old, "a detector that was trained on an image knows its lungs"


def test_an_image_whose_lungs_were_not_found_has_none_and_keeps_the_drawn_ones(
    find: Callable[..., Any], datalist_file: Path, tmp_path: Path
):
    find(InsetInferer(0))
    before, after = (list_images(read_datalist(path)) for path in (datalist_file, tmp_path / "out" / "datalist.json"))
    assert after[0]["lung_box"] is None and after[0]["lung_flags"] == ["no_lungs"]
    assert after[0]["annotated_lung_box"] == before[0]["lung_box"] is not None
    assert all(image["lung_box"] is not None for image in after[1:])


def test_the_source_is_left_as_it_was(find: Callable[..., Any], datalist_file: Path):
    before = datalist_file.read_bytes()
    find(InsetInferer())
    assert datalist_file.read_bytes() == before


def test_one_fold_after_another_keeps_what_was_drawn_at_first(
    find: Callable[..., Any], datalist_file: Path, tmp_path: Path
):
    find(InsetInferer(), out="first", fold=0)
    find(InsetInferer(0), tmp_path / "first" / "datalist.json", out="second", fold=1)
    annotated = {image["image_id"]: image["lung_box"] for image in list_images(read_datalist(datalist_file), None)}
    for image in (second := read_datalist(tmp_path / "second" / "datalist.json"))["test"]:
        assert image["annotated_lung_box"] == annotated[image["image_id"]]
    changed = {image["fold"] for image in second["training"] if "annotated_lung_box" in image}
    assert changed == {0, 1}, "the first fold keeps what was found for it"


def test_the_new_datalist_trains_and_infers_like_any_other(find: Callable[..., Any], images: Path, tmp_path: Path):
    find(InsetInferer(0))
    datalist = tmp_path / "out" / "datalist.json"
    held_out, unlabelled = validation_images(datalist, images, FOLD), test_images(datalist, images)
    assert held_out[0]["lung_box"] is None
    assert all(image["lung_box"].shape == (4,) for image in [*held_out[1:], *unlabelled])
    assert all("lung_flags" not in image for image in training_images(datalist, images, FOLD))


def test_the_table_has_a_row_for_each_image_with_its_box_score_and_flags(find: Callable[..., Any], tmp_path: Path):
    found = find(InsetInferer(1))
    rows = read_table(tmp_path / "out" / "lungs.csv")
    assert tuple(rows[0]) == LUNG_TABLE_COLUMNS
    assert [row["image_id"] for row in rows] == list(found)
    for place, (row, lungs) in enumerate(zip(rows, found.values(), strict=True)):
        box = [row[name] for name in LUNG_TABLE_COLUMNS[1:5]]
        if place == 1:
            assert (box, row["score"], row["flags"]) == ([""] * 4, "0.25", "no_lungs")
        else:
            assert [float(edge) for edge in box] == pytest.approx(lungs.box, abs=0.001)
            assert (row["score"], row["flags"]) == ("0.875", "rotated")


@pytest.mark.parametrize("ground_truth", ["new", "old"])
def test_the_table_can_be_compared_with_what_was_drawn(
    find: Callable[..., Any], datalist_file: Path, tmp_path: Path, ground_truth: str
):
    """The datalist that was found and the one it came of hold the same annotated boxes."""
    find(InsetInferer(0))
    datalist = tmp_path / "out" / "datalist.json" if ground_truth == "new" else datalist_file
    text = report_lungs(tmp_path / "out" / "lungs.csv", datalist, FOLD, num_resamples=5)
    fold = [image for image in read_datalist(datalist_file)["training"] if image["fold"] == FOLD]
    assert f"fold {FOLD}: {len(fold)} images with an annotated lung box" in text
    assert "images without box: 1\n" in text
    assert f"images flagged: {len(fold)} (no_lungs 1, rotated {len(fold) - 1})" in text


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_images_are_looked_at_in_batches_and_none_is_left_over(find: Callable[..., Any], batch_size: int):
    lung_inferer = InsetInferer()
    found = find(lung_inferer, batch_size=batch_size)
    assert sum(lung_inferer.batches) == len(found)
    assert set(lung_inferer.batches[:-1]) <= {batch_size} and 1 <= lung_inferer.batches[-1] <= batch_size


def test_child_processes_read_the_images_unless_a_test_does_not_want_them(
    images: Path, datalist_file: Path, tmp_path: Path
):
    found = find_lungs(InsetInferer(), datalist_file, images, tmp_path, workers=1)
    assert len(found) == len(read_datalist(datalist_file)["test"])


@pytest.mark.parametrize("name", ["datalist.json", "other.json"])
def test_the_datalist_that_it_came_of_is_not_overwritten(
    images: Path, datalist_file: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / name
    source.write_bytes(datalist_file.read_bytes())
    monkeypatch.chdir(tmp_path)
    for out in (tmp_path, Path(), tmp_path / "absent" / ".."):
        with pytest.raises(InputError, match="expected another folder than the datalist's"):
            find_lungs(InsetInferer(), source, images, out)
    assert source.read_bytes() == datalist_file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_nor_is_it_through_a_link_of_another_name(images: Path, datalist_file: Path, tmp_path: Path):
    (tmp_path / "datalist.json").write_bytes(datalist_file.read_bytes())
    (tmp_path / "external").mkdir()
    link = tmp_path / "external" / "link.json"
    link.symlink_to(tmp_path / "datalist.json")
    with pytest.raises(InputError, match="expected another folder than the datalist's"):
        find_lungs(InsetInferer(), link, images, tmp_path)


@pytest.mark.parametrize("fold", [-1, 3, 99, [0, 3]])
def test_a_fold_that_is_not_there_is_rejected_and_nothing_is_written(
    find: Callable[..., Any], tmp_path: Path, fold: int | list[int]
):
    with pytest.raises(InputError, match=re.escape(f"expected a fold from 0 to 2, found fold {fold}; choose another")):
        find(InsetInferer(), fold=fold)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_read_stops_the_pass_and_nothing_is_written(
    find: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def reject(paths: Sequence[Path], workers: int) -> Any:
        return [(path, RejectedImage("truncated", path, "cut")) for path in paths]

    monkeypatch.setattr(datalists, "read_radiographs", reject)
    with pytest.raises(InputError, match=r"expected images that can be read, found truncated at .*\.dcm; prepare"):
        find(InsetInferer())
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_shows_the_images_that_differ_most_from_what_was_drawn(
    find: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shown = []
    monkeypatch.setattr(datalists, "draw_lung_sheet", lambda cases, path: shown.extend(cases))
    find(InsetInferer(2), sheet=tmp_path / "sheet.png")
    changed = list_images(read_datalist(tmp_path / "out" / "datalist.json"))
    overlaps = [compute_iou([case.found], [case.annotated])[0, 0] if case.found else 0 for case in shown]
    assert len(shown) == len(changed) <= datalists.NUM_WORST
    assert overlaps == sorted(overlaps) and overlaps[0] == 0 < overlaps[1]
    assert shown[0].path.stem == changed[2]["image_id"] and shown[0].found is None
    assert shown[0].caption == f"{changed[2]['image_id'][:12]} IoU 0.00 no_lungs"
    assert all(case.path.is_file() for case in shown)


def test_a_sheet_without_annotated_boxes_shows_the_least_sure_images(
    find: Callable[..., Any], datalist_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    datalist = read_datalist(datalist_file)
    images = [image | {"lung_box": None} for image in datalist["training"]]
    write_datalist(tmp_path / "bare.json", images, [], datalist["num_folds"], datalist["seed"])
    shown: list[datalists.LungCase] = []
    monkeypatch.setattr(datalists, "draw_lung_sheet", lambda cases, path: shown.extend(cases))
    found = find(InsetInferer(2), tmp_path / "bare.json", sheet=tmp_path / "sheet.png")
    by_image = {image["image"]: found[image["image_id"]].edge_std for image in images if image["image_id"] in found}
    stds = [next(value for name, value in by_image.items() if case.path.as_posix().endswith(name)) for case in shown]
    assert len(shown) == min(len(found), datalists.NUM_WORST) and stds == sorted(stds, reverse=True)
    assert all(case.annotated is None for case in shown)


def test_a_sheet_is_a_picture_where_it_was_asked_for(find: Callable[..., Any], tmp_path: Path):
    number = len(find(InsetInferer(0), sheet=tmp_path / "sheets" / "worst.png"))
    with Image.open(tmp_path / "sheets" / "worst.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == (6 * 244 + 4, -(-number // 6) * 260 + 4)
    find(InsetInferer(), out="other")
    assert [path.name for path in (tmp_path / "other").iterdir() if path.suffix == ".png"] == []


def write_config(folder: Path, weights: str = "absent.pt", **parts: Any) -> Path:
    """A config with a lung inferer whose network is a line, and the metadata beside it."""
    network = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 1}
    lung_inferer = {
        "lung_weights": str(folder / weights),
        "detector": {"_target_": "scripts.checkpoints.load_weights", "network": network, "path": "@lung_weights"},
        "lung_inferer": {
            "_target_": "scripts.inferers.LungInferer",
            "network": "@detector",
            "preparation": {"_target_": "monai.transforms.Identityd", "keys": "image"},
        },
    }
    (folder / "metadata.json").write_text("{}")
    config = {name: part for name, part in {**lung_inferer, **parts}.items() if part is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


def save_line(path: Path, weight: float, in_features: int = 2) -> Path:
    network = nn.Linear(in_features, 1)
    nn.init.constant_(network.weight, weight)
    save_weights(network.state_dict(), path)
    return path


def test_an_inferer_is_read_with_the_weights_of_its_config_or_with_others(tmp_path: Path):
    save_line(tmp_path / "own.pt", 1.0)
    config, others = write_config(tmp_path, "own.pt"), save_line(tmp_path / "others.pt", 2.0)
    for weights, value in ((None, 1.0), (others, 2.0), (str(others), 2.0)):
        lung_inferer = read_lung_inferer(config, weights)
        assert isinstance(lung_inferer, LungInferer)
        assert lung_inferer.network.weight.tolist() == [[value, value]]
        assert not lung_inferer.network.training


def test_a_config_that_is_not_there_is_reported(tmp_path: Path):
    with pytest.raises(InputError, match=r"expected a config with a lung_inferer, found no file .*config\.json; check"):
        read_lung_inferer(tmp_path / "config.json")


def test_a_config_without_its_metadata_is_reported(tmp_path: Path):
    config = write_config(tmp_path)
    (tmp_path / "metadata.json").unlink()
    with pytest.raises(InputError, match=r"expected the config's metadata beside it, found no file .*metadata\.json"):
        read_lung_inferer(config)


def test_a_config_without_an_inferer_is_reported(tmp_path: Path):
    config = write_config(tmp_path, lung_inferer=None)
    with pytest.raises(
        InputError, match=r"a config with a lung_inferer, found none in config\.json; use inference\.json"
    ):
        read_lung_inferer(config)


def test_weights_that_are_not_there_are_reported_in_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"expected a file of weights, found nothing at .*absent\.pt; train first"):
        read_lung_inferer(write_config(tmp_path))


def test_weights_of_another_network_are_reported_in_one_line(tmp_path: Path):
    others = save_line(tmp_path / "others.pt", 1.0, in_features=3)
    with pytest.raises(InputError, match=r"expected weights of this network, found others at .*others\.pt; use the"):
        read_lung_inferer(write_config(tmp_path), others)


def test_a_mistake_of_the_config_itself_is_not_taken_for_bad_input(tmp_path: Path):
    config = write_config(tmp_path, detector={"_target_": "torch.nn.Linear", "in_features": "two", "out_features": 1})
    with pytest.raises(RuntimeError, match=r"torch\.nn\.Linear"):
        read_lung_inferer(config)


def test_the_inferer_of_the_inference_config_is_read_and_finds(tmp_path: Path):
    save_weights(LungDetector().state_dict(), tmp_path / "lungs.pt")
    lung_inferer = read_lung_inferer(ROOT / "bundle" / "configs" / "inference.json", tmp_path / "lungs.pt")
    (lungs,) = lung_inferer([torch.rand(1, 60, 80)])
    assert isinstance(lungs, Lungs)
