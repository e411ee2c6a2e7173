"""Check of a datalist before a long run: every image is read, and held against what was prepared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.datalist import collect_reader_options, read_datalist
from scripts.errors import InputError, RejectedImage
from scripts.files import write_csv
from scripts.radiographs import PIXELS_SHA256, Radiograph, hash_pixels, read_radiographs
from tqdm import tqdm

CHANGED = "changed"
COLUMNS = ("image_id", "reason", "path", "detail")


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Args:
        num_images: that were read as they were prepared.
        num_without_digest: of these, prepared before version 0.5.0: what they were then nobody can tell.
    """

    num_images: int
    num_without_digest: int


def check_datalist(
    datalist_file: str | Path,
    tree: str | Path,
    external_tree: str | Path | None = None,
    out: str | Path | None = None,
    workers: int = 2,
    accept_secondary_capture: bool = False,
    accept_renderings: bool = False,
) -> Checked:
    """Read every image of a datalist in child processes, with limits, and compare its pixels with its digest.

    Args:
        datalist_file: made by `prepare`.
        tree: that its paths are relative to; `external_tree` for its external images, which are left out without it.
        out: CSV of the images that are not as they were: image_id, reason, path, detail; None: the first is named.
        workers: child processes.
        accept_secondary_capture, accept_renderings: as for `prepare`, beside what the datalist says itself.

    Raises:
        InputError: where an image is absent, cannot be read, or has other pixels than were prepared.
    """
    datalist = read_datalist(datalist_file)
    images = [(Path(tree), image) for image in (*datalist["training"], *datalist["test"])]
    if external_tree is not None:
        images += [(Path(external_tree), image) for image in datalist.get("external", {}).get("images", [])]
    options = {"accept_secondary_capture": accept_secondary_capture, "accept_renderings": accept_renderings}
    options |= collect_reader_options(image for _, image in images)
    paths = [folder / image["image"] for folder, image in images]
    bad: list[Sequence[str]] = []
    read = read_radiographs(paths, workers=workers, **options)
    pairs = zip(images, read, strict=True)
    for (_, image), (path, found) in tqdm(pairs, "checking", len(images), unit="image", disable=None):
        if fault := _find_fault(image, found):
            bad.append((image["image_id"], fault[0], str(path), fault[1]))
    if out is not None:
        write_csv(out, COLUMNS, bad)
    if bad:
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(Counter(row[1] for row in bad).items()))
        raise InputError(
            f"{len(images)} images as they were prepared",
            f"{len(bad)} that are not ({counts}), the first {bad[0][2]}: {bad[0][3]}",
            f"see {out}" if out is not None else "put these images back, or prepare the tree again; --out lists all",
        )
    return Checked(len(images), sum(PIXELS_SHA256 not in image for _, image in images))


def _find_fault(image: Mapping[str, Any], found: Radiograph | RejectedImage) -> tuple[str, str] | None:
    if isinstance(found, RejectedImage):
        return found.reason, found.detail
    height, width = found.pixels.shape[-2:]
    if (height, width) != (image["height"], image["width"]):
        return CHANGED, f"{width} x {height} pixels, {image['width']} x {image['height']} were prepared"
    if image.get(PIXELS_SHA256, digest := hash_pixels(found.pixels)) != digest:
        return CHANGED, "other pixels than were prepared"
    return None
