"""What follows from films that are the same: patients that become one, copies that are not trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from scripts.datalist.decisions import Decisions
from scripts.datalist.films import Film
from scripts.duplicates import SameFilm, group_items

Pairs = Sequence[SameFilm]


def name_patients(films: Sequence[Film], pairs: Pairs, decisions: Decisions) -> list[str]:
    """12 hex digits for each film: films of one study, of one patient, and the same films go together.

    The name is made from the group's first image id: a hash of a patient's number could be guessed.
    """
    links = [*_link_equal([film.patient_key for film in films]), *_link_equal([film.study_id for film in films])]
    alone = group_items(len(films), links)
    for pair in pairs:
        if alone[pair.first] != alone[pair.second]:
            row, other = films[pair.first].source.row, films[pair.second].image_id
            decisions.add("patients joined", row, "two patients share this film", other)
    groups = group_items(len(films), links + [(pair.first, pair.second) for pair in pairs]).tolist()
    first: dict[int, str] = {}
    for film, group in sorted(zip(films, groups, strict=True), key=lambda item: item[0].image_id):
        first.setdefault(group, film.image_id)
    return [hashlib.sha256(f"patient of {first[group]}".encode()).hexdigest()[:12] for group in groups]


def cluster_films(films: Sequence[Film], pairs: Pairs) -> list[int]:
    """Cluster number of each film; the same films share one."""
    return [int(cluster) for cluster in group_items(len(films), [(pair.first, pair.second) for pair in pairs])]


def choose_originals(films: Sequence[Film], pairs: Pairs, decisions: Decisions) -> dict[str, str]:
    """Image id of the film that is trained on instead, by image id of each copy: the rules of `scripts.datalist`."""
    clusters: defaultdict[int, list[Film]] = defaultdict(list)
    for film, number in zip(films, cluster_films(films, pairs), strict=True):
        clusters[number].append(film)
    how = {(films[pair.first].image_id, films[pair.second].image_id): tell_sameness(pair) for pair in pairs}
    originals: dict[str, str] = {}
    for cluster in clusters.values():
        if len(cluster) > 1:
            originals |= _choose_in_cluster(cluster, how, decisions)
    return originals


def _choose_in_cluster(
    cluster: Sequence[Film], how: Mapping[tuple[str, str], str], decisions: Decisions
) -> dict[str, str]:
    ranked = sorted(cluster, key=lambda film: (film.source.label is None, not film.boxes, film.image_id))
    kept: dict[int | None, Film] = {}
    originals = {}
    for film in ranked:
        original = kept.setdefault(film.source.label, film)
        if original is film:
            continue
        unlabelled = film.source.label is None
        why = how.get(tuple(sorted((original.image_id, film.image_id))), "through a third film")  # type: ignore[arg-type]
        decisions.add("same film without label" if unlabelled else "duplicate", film.source.row, why, original.image_id)
        if not unlabelled:
            originals[film.image_id] = original.image_id
    for label, film in list(kept.items())[1:]:
        decision = "same film in test" if label is None else "same film, other label"
        decisions.add(decision, film.source.row, "both are kept", ranked[0].image_id)
    return originals


def _link_equal(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each place with the first place of an equal key."""
    seen: dict[str, int] = {}
    for place, key in enumerate(keys):
        first = seen.setdefault(key, place)
        if first != place:
            yield first, place


def tell_sameness(pair: SameFilm) -> str:
    """How two films were found to be one."""
    return "equal pixels" if pair.exact else f"aligned correlation {pair.correlation:.3f}"
