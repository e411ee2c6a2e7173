"""Preparation of a datalist: a tree of images and its tables -> `datalist.json` and `decisions.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.datalist import DATALIST_FILE, write_datalist
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.preparation import folds
from scripts.preparation.contradictions import (
    HEADER_DECISIONS,
    note_header_contradictions,
    note_lost_zeros,
    resolve_boxes,
)
from scripts.preparation.decisions import Decisions
from scripts.preparation.deduplication import choose_originals, cluster_images, name_patients
from scripts.preparation.duplicates import DuplicatePair, find_duplicates
from scripts.preparation.images import Image, infer_images
from scripts.preparation.sources import list_challenge_images, list_own_images
from scripts.radiographs import PIXELS_SHA256, name_image, number_id
from scripts.tables import LABEL, Tables, detect_format, read_tables

DECISIONS = "decisions.csv"


@dataclass(frozen=True)
class Prepared:
    """Result of `prepare`.

    Args:
        datalist, decisions: the two files.
        content_hash: of the datalist.
        num_training, num_test, num_patients: images with and without label, patients among the images with label.
        num_proposed: pairs of unequal images that were compared as perhaps the same.
        num_decisions: rows of the decisions table by decision.
    """

    datalist: Path
    decisions: Path
    content_hash: str
    num_training: int
    num_test: int
    num_patients: int
    num_proposed: int
    num_decisions: Mapping[str, int]

    @property
    def num_contradictions(self) -> int:
        """Number of images whose headers contradict the tables."""
        return sum(self.num_decisions.get(name, 0) for name in HEADER_DECISIONS)


def prepare(
    tree: str | Path,
    out: str | Path,
    tables: str | Path | None = None,
    num_folds: int = 5,
    seed: int = 0,
    workers: int = 2,
    accept_secondary_capture: bool = False,
    accept_renderings: bool = False,
    contradictions: str = "reject",
    format: str | None = None,
    label_map: str | Path | None = None,
) -> Prepared:
    """Read a tree of images and its tables; write `datalist.json` and `decisions.csv` into `out`.

    Both files are written at the end and atomically: where anything is wrong before, nothing is written.

    Args:
        tree: folder of train/<study>/<series>/<image>.dcm and test/..., or of one's own images.
        out: folder of the two files, made where absent.
        tables: folder of the challenge's tables, a CSV of one's own images, or what else `scripts.tables` reads; the
            tree by default.
        num_folds: cross-validation folds.
        seed: of the folds.
        workers: processes that decode and compare.
        accept_secondary_capture, accept_renderings: also images stored as Secondary Capture, or as PNG or JPEG;
            the datalist holds it, so that whatever reads its images does so too.
        contradictions: of a study's label and boxes; one of `contradictions.RESOLUTIONS`.
        format: of the tables, one of `scripts.tables.FORMATS`; by default it is found.
        label_map: JSON with the meaning of each label of another data set; by default the map of its format.

    Raises:
        InputError: where tree, tables and images contradict each other. An image that cannot be read is no such error:
            it is listed as rejected, unless all are.
    """
    tree, out = Path(tree), Path(out)
    _reject_bad_places(tree, out)
    records = _read_records(tree if tables is None else Path(tables), format, label_map)
    decisions = Decisions()
    records = resolve_boxes(records, contradictions, decisions)
    sources = (list_own_images if records.own else list_challenge_images)(tree, records, decisions)
    options = {"accept_secondary_capture": accept_secondary_capture, "accept_renderings": accept_renderings}
    images = infer_images(tree, sources, records, decisions, workers, **options)
    note_header_contradictions(images, decisions)
    note_lost_zeros(images, decisions)
    found = find_duplicates(
        [image.digest for image in images],
        [image.thumbnail for image in images],
        [image.study_id for image in images],
        workers,
    )
    entries = _describe_images(images, found.pairs, decisions)
    recorded = {name: True for name, accepted in options.items() if accepted}
    entries = [entry | recorded for entry in entries]
    if records.own:
        _name_images(entries, tree)
    _assign_folds(entries, cluster_images(images, found.pairs), num_folds, seed)
    training = [entry for entry in entries if entry["label"] is not None]
    test = [entry for entry in entries if entry["label"] is None]
    out.mkdir(parents=True, exist_ok=True)
    decisions.write(out / DECISIONS)
    datalist = write_datalist(out / DATALIST_FILE, training, test, num_folds, seed)
    return Prepared(
        datalist=out / DATALIST_FILE,
        decisions=out / DECISIONS,
        content_hash=datalist["content_hash"],
        num_training=len(training),
        num_test=len(test),
        num_patients=len({image["patient"] for image in training}),
        num_proposed=found.num_proposed,
        num_decisions=decisions.count(),
    )


def _read_records(path: Path, format: str | None, label_map: str | Path | None) -> Tables:
    if label_map is None and (format or detect_format(path)) == LABEL:
        from scripts.monai_label import read_correction_tables  # it imports torch, and all other tables need none

        return read_correction_tables(path if path.is_dir() else path.parent)
    return read_tables(path, format, label_map)


def _reject_bad_places(tree: Path, out: Path) -> None:
    if not tree.is_dir():
        raise InputError("a folder of DICOM images", f"no folder {tree}", "check --tree")
    if out.exists() and not out.is_dir():
        raise InputError("a folder to write into", f"a file at {out}", "choose another --out")


def _name_images(entries: Sequence[dict[str, Any]], tree: Path) -> None:
    """Give own images the ids that they have in inference too; until here they have those of their files' names."""
    known: set[str] = set()
    paths = {entry["image_id"]: entry["image"] for entry in entries}
    ids = {name: number_id(name_image(tree / path)[0], known) for name, path in sorted(paths.items())}
    for entry in entries:
        entry["image_id"], entry["duplicate_of"] = ids[entry["image_id"]], ids.get(entry["duplicate_of"])


def _describe_images(
    images: Sequence[Image], pairs: Sequence[DuplicatePair], decisions: Decisions
) -> list[dict[str, Any]]:
    """Images of the datalist, still without folds."""
    patients = name_patients(images, pairs, decisions)
    originals = choose_originals(images, pairs, decisions)
    boxed_studies = {image.study_id for image in images if image.boxes}
    return [
        {
            "image": image.source.image,
            "image_id": image.image_id,
            "study_id": image.study_id,
            "patient": patient,
            "label": image.source.label,
            "fold": None,
            "boxes": [list(box) for box in image.boxes],
            "boxes_known": _know_boxes(image, boxed_studies, decisions),
            "lung_box": None if image.lung_box is None else list(image.lung_box),
            "height": image.height,
            "width": image.width,
            "duplicate_of": originals.get(image.image_id),
            PIXELS_SHA256: image.digest,
            **{name: text for name in ("mask", "origin") if (text := getattr(image.source.row, name))},
        }
        for image, patient in zip(images, patients, strict=True)
    ]


def _know_boxes(image: Image, boxed_studies: set[str], decisions: Decisions) -> bool:
    """Decide if an image's boxes, or their absence, are known; what its table says of it goes first."""
    if image.source.row.boxes_known is not None:
        return image.source.row.boxes_known
    positive = image.source.label is not None and STUDY_CLASSES[image.source.label] != "negative"
    if image.boxes or not positive or image.study_id not in boxed_studies:
        return True
    decisions.add("boxes unknown", image.source.row, "no boxes, but another image of this positive study has some")
    return False


def _assign_folds(entries: Sequence[dict[str, Any]], clusters: Sequence[int], num_folds: int, seed: int) -> None:
    """Put the fold into each labelled image, by study, and reject a leak; a tree without labels has no folds."""
    labelled = [
        (entry, cluster) for entry, cluster in zip(entries, clusters, strict=True) if entry["label"] is not None
    ]
    if not labelled:
        return
    studies = {entry["study_id"]: entry for entry, _ in labelled}
    names = sorted(studies)
    labels, patients = [studies[name]["label"] for name in names], [studies[name]["patient"] for name in names]
    by_study = dict(zip(names, folds.assign_folds(labels, patients, num_folds, seed).tolist(), strict=True))
    for entry, _ in labelled:
        entry["fold"] = by_study[entry["study_id"]]
    folds.reject_leaks({**entry, "image": cluster} for entry, cluster in labelled)
