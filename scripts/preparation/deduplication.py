"""Deduplication: patients that share an image are joined, copies are not trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from scripts.preparation.decisions import Decisions
from scripts.preparation.duplicates import DuplicatePair, group_items
from scripts.preparation.images import Image

Pairs = Sequence[DuplicatePair]


def name_patients(images: Sequence[Image], pairs: Pairs, decisions: Decisions) -> list[str]:
    """12 hex digits for each image: images of one study, of one patient, and the same images go together.

    The name is made from the group's first image id: a hash of a patient's number could be guessed.
    """
    links = [*_link_equal([image.patient_key for image in images]), *_link_equal([image.study_id for image in images])]
    alone = group_items(len(images), links)
    for pair in pairs:
        if alone[pair.first] != alone[pair.second]:
            row, other = images[pair.first].source.row, images[pair.second].image_id
            decisions.add("patients joined", row, "two patients share this image", other)
    groups = group_items(len(images), links + [(pair.first, pair.second) for pair in pairs]).tolist()
    first: dict[int, str] = {}
    for image, group in sorted(zip(images, groups, strict=True), key=lambda item: item[0].image_id):
        first.setdefault(group, image.image_id)
    return [hashlib.sha256(f"patient of {first[group]}".encode()).hexdigest()[:12] for group in groups]


def cluster_images(images: Sequence[Image], pairs: Pairs) -> list[int]:
    """Cluster number of each image; the same images share one."""
    return [int(cluster) for cluster in group_items(len(images), [(pair.first, pair.second) for pair in pairs])]


def choose_originals(images: Sequence[Image], pairs: Pairs, decisions: Decisions) -> dict[str, str]:
    """Image id of the image that is trained on instead, by image id of each copy: the rules of `scripts.datalist`."""
    clusters: defaultdict[int, list[Image]] = defaultdict(list)
    for image, number in zip(images, cluster_images(images, pairs), strict=True):
        clusters[number].append(image)
    how = {(images[pair.first].image_id, images[pair.second].image_id): describe_duplicate(pair) for pair in pairs}
    originals: dict[str, str] = {}
    for cluster in clusters.values():
        if len(cluster) > 1:
            originals |= _choose_in_cluster(cluster, how, decisions)
    return originals


def _choose_in_cluster(
    cluster: Sequence[Image], how: Mapping[tuple[str, str], str], decisions: Decisions
) -> dict[str, str]:
    ranked = sorted(cluster, key=lambda image: (image.source.label is None, not image.boxes, image.image_id))
    kept: dict[int | None, Image] = {}
    originals = {}
    for image in ranked:
        original = kept.setdefault(image.source.label, image)
        if original is image:
            continue
        unlabelled = image.source.label is None
        why = how.get(tuple(sorted((original.image_id, image.image_id))), "through a third image")  # type: ignore[arg-type]
        decisions.add(
            "duplicate without label" if unlabelled else "duplicate", image.source.row, why, original.image_id
        )
        if not unlabelled:
            originals[image.image_id] = original.image_id
    for label, image in list(kept.items())[1:]:
        decision = "duplicate in test" if label is None else "duplicate, other label"
        decisions.add(decision, image.source.row, "both are kept", ranked[0].image_id)
    return originals


def _link_equal(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each index with the first index of an equal key."""
    seen: dict[str, int] = {}
    for index, key in enumerate(keys):
        first = seen.setdefault(key, index)
        if first != index:
            yield first, index


def describe_duplicate(pair: DuplicatePair) -> str:
    """Describe the evidence that two images are one."""
    return "equal pixels" if pair.exact else f"aligned correlation {pair.correlation:.3f}"
