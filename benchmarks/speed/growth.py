"""Cost as work grows: 1, 10 and 100 times the challenge's 6,054 studies and 6,334 images, as tables and hashes alone.

Each size runs in a process of its own, on one thread; times are its processor time without drawing the input, memory is
the most that the process held, input included. Theirs is 150 times the time at 1x: a ratio of 1 is a growth by n^1.09.
The exponent is that of n between 1x and 100x. Up to 30,000 images the duplicate search compares all pairs, above it
searches (`scripts/preparation/duplicates/neighbours.py`) and may miss some: the note says which fraction of copies with
so many changed bits it found. Hashes are random bits; copies of 1 in 20 images are planted.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scripts.metrics import score_predictions
from scripts.metrics.resampling import resample_scores
from scripts.preparation.decisions import Decisions
from scripts.preparation.deduplication import choose_originals, cluster_images, name_patients
from scripts.preparation.duplicates import DuplicatePair, propose_pairs
from scripts.preparation.folds import assign_folds
from scripts.preparation.images import Image
from scripts.preparation.sources import Source
from scripts.tables import ImageRow

from benchmarks.speed.comparison import Comparison
from benchmarks.speed.score_cases import NUM_IMAGES, NUM_STUDIES, draw_submission

SIZES = (1, 10, 100)
MAX_GROWTH = 150
NUM_BITS = 575
#: Fractions of the bits in which planted copies differ: the same images of the challenge in 0.21 at most.
FRACTIONS = (0.1, 0.2, 0.25, 0.3, 0.33)
NUM_RESAMPLES = 20


@dataclass(frozen=True)
class Cost:
    """Processor time in seconds, peak memory in bytes, and what else was measured."""

    seconds: float
    peak_bytes: int
    note: str = ""


def measure(folder: Path) -> list[Comparison]:
    """Measure each task at each size."""
    del folder  # nothing is written
    return [_compare(name, [_run_apart(name, size) for size in SIZES]) for name in TASKS]


def search_duplicates(size: int) -> Cost:
    """Search the near pairs among hashes with planted copies."""
    hashes, planted = draw_hashes(size * NUM_IMAGES)
    start = time.process_time()
    proposed = propose_pairs(hashes)
    seconds = time.process_time() - start
    known = set(map(tuple, proposed.tolist()))
    recalls = {fraction: np.mean([pair in known for pair in pairs]) for fraction, pairs in planted.items()}
    found = ", ".join(f"{recall:.1%} at {fraction}" for fraction, recall in recalls.items())
    return Cost(seconds, _read_peak(), f"found of the copies {found}")


def draw_hashes(num_images: int, seed: int = 0) -> tuple[np.ndarray, dict[float, list[tuple[int, int]]]]:
    """Hashes `(N, 575)`, 1 in 20 of them a copy of another with a fraction of its bits changed; pairs by fraction."""
    rng = np.random.default_rng(seed)
    hashes = np.unpackbits(rng.integers(256, size=(num_images, 72), dtype=np.uint8), axis=1, count=NUM_BITS).view(bool)
    num_copies = num_images // 20 // len(FRACTIONS)
    originals, copies = rng.permutation(num_images)[: 2 * num_copies * len(FRACTIONS)].reshape(
        2, len(FRACTIONS), num_copies
    )
    for fraction, some, others in zip(FRACTIONS, originals, copies, strict=True):
        changes = rng.random((num_copies, NUM_BITS), dtype=np.float32).argsort(axis=1) < int(fraction * NUM_BITS)
        hashes[others] = hashes[some] ^ changes
    pairs = np.sort(np.stack([originals, copies], axis=-1), axis=-1)
    return hashes, {fraction: list(map(tuple, each.tolist())) for fraction, each in zip(FRACTIONS, pairs, strict=True)}


def score(size: int) -> Cost:
    """Score a submission."""
    case = draw_submission(size * NUM_STUDIES, size * NUM_IMAGES)
    start = time.process_time()
    score_predictions(*case)
    return Cost(time.process_time() - start, _read_peak())


def bootstrap(size: int) -> Cost:
    """Score a submission and its resamples."""
    case = draw_submission(size * NUM_STUDIES, size * NUM_IMAGES)
    start = time.process_time()
    resample_scores(*case, num_resamples=NUM_RESAMPLES)
    return Cost(time.process_time() - start, _read_peak())


def keep_books(size: int) -> Cost:
    """Join patients, choose among duplicates and assign folds, as `prepare` does."""
    images, pairs = draw_images(size * NUM_STUDIES, size * NUM_IMAGES)
    start = time.process_time()
    patients = name_patients(images, pairs, Decisions())
    choose_originals(images, pairs, Decisions())
    cluster_images(images, pairs)
    assign_folds([image.source.label or 0 for image in images], patients)
    return Cost(time.process_time() - start, _read_peak())


def draw_images(num_studies: int, num_images: int, seed: int = 0) -> tuple[list[Image], list[DuplicatePair]]:
    """Images as `prepare` has read them, and pairs of the same image: 1 in 20 images has a copy."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=num_studies).tolist()
    thumbnail = np.zeros((1, 1), dtype=np.uint8)
    images = []
    for number in range(num_images):
        study = number % num_studies
        row = ImageRow(f"{number:012x}", f"{study:012x}", (), f"{number}.dcm")
        source = Source(f"{number}.dcm", row, labels[study])
        images.append(Image(source, (), None, 256, 256, str(number), thumbnail, patient_key=f"p{study // 2}"))
    chosen = np.sort(rng.permutation(num_images)[: 2 * (num_images // 20)].reshape(2, -1), axis=0)
    return images, [DuplicatePair(first, second, False, 0.9) for first, second in chosen.T.tolist()]


TASKS: dict[str, tuple[str, Callable[[int], Cost]]] = {
    "duplicates": ("duplicate search of 633,400 drawn hashes", search_duplicates),
    "books": ("patients, duplicates and folds of 633,400 images, as prepare finds them", keep_books),
    "score": ("score of 605,400 studies, 633,400 images", score),
    "bootstrap": (f"the same with {NUM_RESAMPLES} resamples", bootstrap),
}


def run_task(name: str, size: int) -> Cost:
    """Run a task by its name, in whatever process."""
    return TASKS[name][1](size)


def _run_apart(name: str, size: int) -> Cost:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run_task, name, size).result()


def _compare(name: str, costs: list[Cost]) -> Comparison:
    first, last = costs[0], costs[-1]
    exponent = math.log(last.seconds / first.seconds, SIZES[-1] / SIZES[0])
    parts = [
        f"{size}x {cost.seconds:.3g} s, {cost.peak_bytes / 1e9:.2g} GB" for size, cost in zip(SIZES, costs, strict=True)
    ]
    note = "; ".join([*parts, f"exponent {exponent:.2f}", *([last.note] if last.note else [])])
    return Comparison(
        TASKS[name][0],
        f"{MAX_GROWTH} times its own 1x",
        [last.seconds],
        [MAX_GROWTH * first.seconds],
        goal="at least 1",
        note=note,
    )


def _read_peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
