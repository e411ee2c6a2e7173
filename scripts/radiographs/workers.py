"""Films read in child processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts.errors import RefusedFilm
from scripts.radiographs.facts import Radiograph
from scripts.radiographs.reading import read_radiograph


def read_radiographs(
    paths: Iterable[str | Path], workers: int = 2, **options: Any
) -> Iterator[tuple[str | Path, Radiograph | RefusedFilm]]:
    """Films in the order of `paths`, each with its path; a film that cannot be read is a `RefusedFilm`."""
    for path in paths:
        try:
            yield path, read_radiograph(path, **options)
        except RefusedFilm as refusal:
            yield path, refusal
