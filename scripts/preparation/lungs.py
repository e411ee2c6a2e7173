"""Lung detection for a whole datalist, in one pass, into a datalist of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from scripts.boxes import compute_paired_iou
from scripts.datalist import DATALIST_FILE, collect_reader_options, list_folds, read_datalist, write_datalist
from scripts.errors import InputError, RejectedImage
from scripts.files import write_csv
from scripts.inferers import LungInferer, Lungs
from scripts.labels import LUNG_TABLE_COLUMNS
from scripts.outputs import LungCase, draw_lung_sheet
from scripts.radiographs import read_radiographs
from tqdm import tqdm

TABLE = "lungs.csv"

#: Images on a sheet.
NUM_WORST = 24


def find_lungs(
    lung_inferer: LungInferer,
    datalist_file: str | Path,
    dataset_dir: str | Path,
    out: str | Path,
    fold: int | Sequence[int] | None = None,
    sheet: str | Path | None = None,
    batch_size: int = 16,
    workers: int = 2,
) -> dict[str, Lungs]:
    """Find the lungs of a fold or several, and of images without label; write `datalist.json` and `lungs.csv` to `out`.

    An image's `lung_box` becomes the detected one, or null where none is accepted; the annotated one stays under
    `annotated_lung_box`. Images of other folds keep their annotated boxes: a detector that was trained on them knows
    them.

    Args:
        lung_inferer: with a network that was trained without the fold.
        datalist_file, dataset_dir: images and the tree that they lie in.
        out: folder; another one than that of the datalist.
        fold: the fold that the network has not seen, or several; None: only the images without label.
        sheet: a PNG to draw, of the images on which found and annotated boxes differ most.
        batch_size: images that go through the network together.
        workers: child processes that read images.

    Returns:
        What was found, by image id.

    Raises:
        InputError: where a datalist would overwrite its source, a fold is not there, or an image cannot be read.
    """
    source, out = Path(datalist_file), Path(out)
    if source.resolve() in {(out / name).resolve() for name in (DATALIST_FILE, source.name)}:
        raise InputError(
            "another folder than the datalist's", f"{out}", "choose another --out; the annotated boxes stay"
        )
    datalist = read_datalist(source)
    unseen = list_folds(fold)
    if not set(unseen) <= set(range(datalist["num_folds"])):
        raise InputError(f"a fold from 0 to {datalist['num_folds'] - 1}", f"fold {fold}", "choose another fold")
    images = [image for image in datalist["training"] if image["fold"] in unseen] + datalist["test"]
    found = dict(_find_in_batches(lung_inferer, images, Path(dataset_dir), batch_size, workers))
    for image in images:
        lungs = found[image["image_id"]]
        old = image.pop("drawn_lung_box", image["lung_box"])  # the key's name before version 0.4.0
        image.setdefault("annotated_lung_box", old)
        image["lung_box"] = None if lungs.box is None else list(lungs.box)
        image["lung_flags"] = list(lungs.flags)
    write_csv(out / TABLE, LUNG_TABLE_COLUMNS, [_list_lungs(image_id, lungs) for image_id, lungs in found.items()])
    write_datalist(out / DATALIST_FILE, datalist["training"], datalist["test"], datalist["num_folds"], datalist["seed"])
    if sheet is not None:
        draw_lung_sheet(_choose_worst(images, found, Path(dataset_dir)), sheet)
    return found


def _choose_worst(
    images: Sequence[dict[str, Any]], found: Mapping[str, Lungs], tree: Path, number: int = NUM_WORST
) -> list[LungCase]:
    """The images whose detected box overlaps the annotated one least, one without a box first; or the least sure ones.

    The latter where no image has an annotated box.
    """
    annotated = [image for image in images if image["annotated_lung_box"] is not None]
    if not annotated:
        unsure = sorted(images, key=lambda image: found[image["image_id"]].edge_std, reverse=True)
        return [
            LungCase(
                tree / image["image"], None, image["lung_box"], " ".join([image["image_id"][:12], *image["lung_flags"]])
            )
            for image in unsure[:number]
        ]
    overlaps = dict.fromkeys((image["image_id"] for image in annotated), 0.0)
    overlaps |= {
        image["image_id"]: compute_paired_iou([image["lung_box"]], [image["annotated_lung_box"]])[0]
        for image in annotated
        if image["lung_box"]
    }
    return [
        LungCase(
            tree / image["image"],
            image["annotated_lung_box"],
            image["lung_box"],
            f"{image['image_id'][:12]} IoU {overlaps[image['image_id']]:.2f} {' '.join(image['lung_flags'])}",
        )
        for image in sorted(annotated, key=lambda image: overlaps[image["image_id"]])[:number]
    ]


def _find_in_batches(
    lung_inferer: LungInferer, images: Sequence[dict[str, Any]], tree: Path, batch_size: int, workers: int
) -> Iterator[tuple[str, Lungs]]:
    paths, options = [tree / image["image"] for image in images], collect_reader_options(images)
    readings = read_radiographs(paths, workers=workers, **options)
    batch: list[tuple[str, torch.Tensor]] = []
    pairs = zip(images, readings, strict=True)
    for image, (path, reading) in tqdm(pairs, "finding lungs", len(images), unit="image", disable=None):
        if isinstance(reading, RejectedImage):
            raise InputError("images that can be read", f"{reading.reason} at {path}", "prepare the datalist again")
        batch.append((image["image_id"], torch.from_numpy(reading.pixels)))
        if len(batch) == batch_size or image is images[-1]:
            names, pixels = zip(*batch, strict=True)
            yield from zip(names, lung_inferer(pixels), strict=True)
            batch = []


def _list_lungs(image_id: str, lungs: Lungs) -> list[object]:
    box = [""] * 4 if lungs.box is None else [round(edge, 3) for edge in lungs.box]
    return [image_id, *box, round(lungs.score, 6), " ".join(lungs.flags)]
