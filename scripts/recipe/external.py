"""Unlabelled images join a recipe: listed, read, cropped to detected lungs, and compared with the labelled ones."""

from __future__ import annotations

from pathlib import Path

from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.files import write_csv
from scripts.inferers import read_lung_inferer
from scripts.preparation import add_external, prepare
from scripts.preparation.lungs import find_lungs

_COLUMNS = ("study", "image", "label", "boxes")


def add_unlabelled(
    datalist_file: str | Path,
    tree: str | Path,
    external_tree: str | Path,
    out: str | Path,
    config: str | Path = "bundle/configs/inference.json",
) -> Path:
    """Write a datalist with all images of a tree as external ones; what was done already is kept.

    Args:
        datalist_file, tree: the labelled images.
        external_tree: <study>/.../<image>.dcm, images of other patients. Images, studies and patients that the datalist
            has are left out.
        out: folder of the new datalist, and of what it is made from.
        config: holds the lung detector.

    Returns:
        The new datalist.

    Raises:
        InputError: where the tree holds no image, or none that the datalist has not.
    """
    joined, external, out = Path(out) / "datalist.json", Path(external_tree), Path(out)
    if (
        joined.is_file()
        and read_datalist(joined)["external"]["matched_with"] == read_datalist(datalist_file)["content_hash"]
    ):
        return joined
    images = sorted(path.relative_to(external) for path in external.rglob("*.dcm"))
    if not images:
        raise InputError("DICOM images (*.dcm) of unlabelled studies", f"none below {external}", "check the path")
    write_csv(out / "images.csv", _COLUMNS, [(path.parts[0], path.as_posix(), "", "") for path in images])
    prepare(external, out / "prepared", out / "images.csv")
    find_lungs(read_lung_inferer(config), out / "prepared" / "datalist.json", external, out / "lungs")
    return add_external(datalist_file, tree, out / "lungs" / "datalist.json", external, out).datalist
