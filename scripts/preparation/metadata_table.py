"""Table of image metadata for subgroups, without anything that identifies a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.datalist import read_datalist
from scripts.errors import RejectedImage
from scripts.files import write_csv
from scripts.radiographs import ImageMetadata, read_image_metadata
from tqdm import tqdm

#: Columns beside image_id: words of known lists and a band of ages. No UID, no date, and not the patient, not even
#: as a hash: a table of metadata is made to be passed on.
METADATA_COLUMNS: tuple[str, ...] = (
    "patient_sex",
    "age_band",
    "view_position",
    "manufacturer",
    "photometric",
    "modality",
    "body_part",
    "bits_stored",
)

#: Lower bounds of the bands. One for all from 80 on: great ages are rare enough to point to a person.
AGE_BANDS: Mapping[int, str] = {0: "0 to 39", 40: "40 to 59", 60: "60 to 79", 80: "80 or more"}


def write_metadata_table(datalist_file: str | Path, tree: str | Path, out: str | Path) -> tuple[int, int]:
    """Write the metadata of every image of a datalist, one row an image; only headers are read.

    A cell is empty where an image does not say it; an image that is no DICOM image here has no row.

    Args:
        datalist_file: made by `prepare`.
        tree: what its paths are relative to.
        out: the CSV, with the columns image_id and `METADATA_COLUMNS`.

    Returns:
        How many images have a row, and how many have not.

    Raises:
        InputError: where the datalist is not valid.
    """
    datalist = read_datalist(datalist_file)
    rows = {}
    images = [*datalist["training"], *datalist["test"]]
    for image in tqdm(images, "headers", unit="image", disable=None):
        try:
            # the datalist holds what its maker accepted, Secondary Captures too
            metadata = read_image_metadata(Path(tree) / image["image"], accept_secondary_capture=True)
        except RejectedImage:
            continue
        rows[image["image_id"]] = [image["image_id"], *_list_metadata(metadata)]
    write_csv(out, ["image_id", *METADATA_COLUMNS], rows.values())
    return len(rows), len(images) - len(rows)


def name_age_band(years: float | None) -> str:
    """Band of an age; an empty text where nobody knows it."""
    return "" if years is None else AGE_BANDS[max(bound for bound in AGE_BANDS if bound <= max(years, 0))]


def _list_metadata(metadata: ImageMetadata) -> list[object]:
    known = {"age_band": name_age_band(metadata.patient_age_years)}
    return [known[name] if name in known else getattr(metadata, name) for name in METADATA_COLUMNS]
