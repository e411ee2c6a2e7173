"""What the films of a datalist say about themselves, as a table for subgroups that tells of nobody who it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from scripts.datalist.schema import read_datalist
from scripts.errors import RefusedFilm
from scripts.files import write_csv
from scripts.radiographs import RadiographFacts, read_film_facts

#: Columns beside image_id: words of known lists and a band of ages. No UID, no date, and not the patient, not even
#: as a hash: a table of facts is made to be passed on.
FACT_COLUMNS: tuple[str, ...] = (
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


def write_facts(datalist_file: str | Path, tree: str | Path, out: str | Path) -> tuple[int, int]:
    """Write the facts of every film of a datalist, one row a film; only headers are read.

    A cell is empty where a film does not say it; a film that is no DICOM film here has no row.

    Args:
        datalist_file: made by `prepare`.
        tree: what its paths are relative to.
        out: the CSV, with the columns image_id and `FACT_COLUMNS`.

    Returns:
        How many films have a row, and how many have not.

    Raises:
        InputError: where the datalist is not valid.
    """
    datalist = read_datalist(datalist_file)
    rows = {}
    films = [*datalist["training"], *datalist["test"]]
    for film in films:
        try:
            # the datalist holds what its maker accepted, Secondary Captures too
            facts = read_film_facts(Path(tree) / film["image"], accept_secondary_capture=True)
        except RefusedFilm:
            continue
        rows[film["image_id"]] = [film["image_id"], *_list_facts(facts)]
    write_csv(out, ["image_id", *FACT_COLUMNS], rows.values())
    return len(rows), len(films) - len(rows)


def name_age_band(years: float | None) -> str:
    """Band of an age; an empty text where nobody knows it."""
    return "" if years is None else AGE_BANDS[max(bound for bound in AGE_BANDS if bound <= max(years, 0))]


def _list_facts(facts: RadiographFacts) -> list[object]:
    known = {"age_band": name_age_band(facts.patient_age_years)}
    return [known[name] if name in known else getattr(facts, name) for name in FACT_COLUMNS]
