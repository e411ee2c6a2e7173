"""External images for a datalist: compared by content first, since none may be both scored and trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.datalist import (
    DATALIST_FILE,
    EXTERNAL_IMAGE_TYPES,
    collect_reader_options,
    read_datalist,
    reject_overwriting,
    write_datalist,
)
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.preparation.decisions import Decisions
from scripts.preparation.deduplication import describe_duplicate
from scripts.preparation.duplicates import find_duplicates, group_items
from scripts.preparation.images import Image, infer_images
from scripts.preparation.sources import Source
from scripts.radiographs import PIXELS_SHA256, READER_OPTIONS
from scripts.tables import ImageRow, Tables

EXTERNAL_DECISIONS = "external.csv"


@dataclass(frozen=True)
class Added:
    """Result of `add_external`.

    Args:
        datalist, decisions: the two files.
        num_images: external images that stayed.
        num_decisions: rows of the decisions table by decision.
    """

    datalist: Path
    decisions: Path
    num_images: int
    num_decisions: Mapping[str, int]


@dataclass(frozen=True)
class Hit:
    """An external image that belongs to the datalist: by which decision, with which of its images, and why."""

    decision: str
    other: Image
    why: str


def add_external(
    datalist_file: str | Path,
    tree: str | Path,
    external_file: str | Path,
    external_tree: str | Path,
    out: str | Path,
    workers: int = 2,
) -> Added:
    """Write the datalist with external images as `datalist.json`, and what was left out as `external.csv`.

    All images of both are read, and compared as `prepare` compares images. Left out is an image that is one of the
    datalist's, with or without label there, or of one of its studies or patients; with it go all images of its patient.
    Copies among the external images that are not trained on there are left out too.

    Args:
        datalist_file, tree: the datalist, and the tree of its images.
        external_file, external_tree: the same of the external images; `prepare` makes their datalist as well.
        out: folder; another one than that of the datalist.
        workers: processes that decode and compare.

    Raises:
        InputError: where a datalist or an image is not there, nothing is left, or the datalist would be overwritten.
    """
    datalist, out = read_datalist(datalist_file), Path(out)
    reject_overwriting(datalist_file, out)
    if "external" in datalist:
        raise InputError("a datalist without external images", f"{datalist_file} with some", "start from its source")
    entries, others = ([*each["training"], *each["test"]] for each in (datalist, read_datalist(external_file)))
    others = [entry for entry in others if entry["duplicate_of"] is None]
    decisions = Decisions()
    known = _infer(entries, Path(tree), Decisions(), workers)
    if len(known) < len(entries):
        advice = "check the tree: what cannot be read cannot be compared"
        raise InputError(f"{len(entries)} readable images of {datalist_file}", f"{len(known)} below {tree}", advice)
    images = _infer(others, Path(external_tree), decisions, workers)
    hits = find_hits(known, images, _list_patients(entries), _list_patients(others), workers)
    for image in images:
        if hit := hits.get(image.image_id):
            decisions.add(hit.decision, image.source.row, hit.why, hit.other.image_id)
    kept = {image.image_id for image in images} - hits.keys()
    if not kept:
        found = f"{len(others)} left out or rejected, the first as {decisions.rows[0][0]}"
        raise InputError("at least one image that the datalist has not", found, "choose other images")
    out.mkdir(parents=True, exist_ok=True)
    decisions.write(out / EXTERNAL_DECISIONS)
    external = {
        "matched_with": datalist["content_hash"],
        "images": [_describe(entry) for entry in others if entry["image_id"] in kept],
        "dropped": {image_id: hit.other.image_id for image_id, hit in sorted(hits.items())},
        "pseudo_labels": [],
    }
    settings = (datalist["num_folds"], datalist["seed"], external)
    write_datalist(out / DATALIST_FILE, datalist["training"], datalist["test"], *settings)
    return Added(out / DATALIST_FILE, out / EXTERNAL_DECISIONS, len(kept), decisions.count())


def find_hits(
    known: Sequence[Image],
    images: Sequence[Image],
    patients: Mapping[str, str],
    other_patients: Mapping[str, str],
    workers: int = 1,
) -> dict[str, Hit]:
    """Find the external images that belong to a datalist, by image id.

    Args:
        known: images of the datalist.
        images: external images.
        patients: the datalist's patient of each of its images, by image id. A header's number under which it knows
            several patients reports none of them.
        other_patients: the same of the external images.
        workers: processes that compare.
    """
    same = dict(_find_duplicates(known, images, workers))
    studies = {image.study_id: image for image in known}
    by_id = {image.image_id: image for image in known}
    named: defaultdict[str, set[str]] = defaultdict(set)
    for image in known:
        named[image.patient_key].add(patients[image.image_id])
    keys = {image.patient_key: image for image in known if len(named[image.patient_key]) == 1}
    hits = {}
    for index, image in enumerate(images):
        if index in same:
            hits[image.image_id] = same[index]
        elif other := by_id.get(image.image_id) or studies.get(image.study_id):
            hits[image.image_id] = Hit("same study in datalist", other, "an id that both have")
        elif other := keys.get(image.patient_key):
            hits[image.image_id] = Hit("same patient in datalist", other, "a patient's number that both have")
    return {**_propagate_hits(images, hits, other_patients), **hits}


def _propagate_hits(images: Sequence[Image], hits: Mapping[str, Hit], patients: Mapping[str, str]) -> dict[str, Hit]:
    """A hit for every image of a patient with a hit: he is a patient of the datalist, whatever else he is called."""
    others = {patients[image.image_id]: hits[image.image_id].other for image in images if image.image_id in hits}
    why = "another image of the patient is one of the datalist's"
    return {
        image.image_id: Hit("same patient in datalist", others[patient], why)
        for image in images
        if (patient := patients[image.image_id]) in others
    }


def _find_duplicates(known: Sequence[Image], images: Sequence[Image], workers: int) -> Iterator[tuple[int, Hit]]:
    """Index in `images` and hit of each image that is one of the known, be it through a third image."""
    every = [*known, *images]
    found = find_duplicates(
        [image.digest for image in every],
        [image.thumbnail for image in every],
        [image.study_id for image in every],
        workers,
    )
    groups = group_items(len(every), [(pair.first, pair.second) for pair in found.pairs]).tolist()
    first: dict[int, Image] = {}
    for image, group in zip(known, groups, strict=False):
        first.setdefault(group, image)
    direct = {pair.second: pair for pair in found.pairs if pair.first < len(known) <= pair.second}
    for index, group in enumerate(groups[len(known) :]):
        if group in first:
            pair = direct.get(len(known) + index)
            other, why = (
                (known[pair.first], describe_duplicate(pair)) if pair else (first[group], "through a third image")
            )
            yield index, Hit("duplicate in datalist", other, why)


def _infer(entries: Sequence[Mapping[str, Any]], tree: Path, decisions: Decisions, workers: int) -> list[Image]:
    sources = [
        Source(entry["image"], ImageRow(entry["image_id"], entry["study_id"], (), entry["image"]), entry["label"])
        for entry in entries
    ]
    return infer_images(tree, sources, Tables({}, {}, {}), decisions, workers, **collect_reader_options(entries))


def _list_patients(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {entry["image_id"]: entry["patient"] for entry in entries}


def _describe(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An image of the section: other readers are accepted in boxes that are there, and in none on negative images."""
    negative = entry["label"] is not None and STUDY_CLASSES[entry["label"]] == "negative"
    image = {key: entry[key] for key in (*EXTERNAL_IMAGE_TYPES, PIXELS_SHA256, *READER_OPTIONS) if key in entry}
    return image | {"boxes_known": entry["boxes_known"] and (bool(entry["boxes"]) or negative)}
