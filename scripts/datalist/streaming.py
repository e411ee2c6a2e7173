"""Batches of images for inference: each image is decoded once, in a limited child process, while the networks work.

No pass over all images comes first: the first prediction is there as soon as the first batch is read. What cannot be
read is listed with its reason, never predicted, so it is never "negative".
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Condition
from typing import Any, Protocol

from monai.data import Dataset
from scripts.datalist.folders import FolderImages
from scripts.datalist.selection import Image, test_images, validation_images
from scripts.datalist.stopping import StopSignals
from scripts.errors import REJECTED_COLUMNS, InputError, RejectedImage, find_input_error
from scripts.files import write_csv
from scripts.output_folders import report_output_errors
from scripts.radiographs import number_id
from tqdm import tqdm

#: Pixels of a batch, and of the images that wait for the networks meanwhile: 256 MiB each as float32, 16 images of
#: 2048 x 2048. A batch of larger images ends early: the networks see them small, and gain nothing from more of them.
MAX_BATCH_PIXELS = MAX_WAITING_PIXELS = 2**26


def list_images(
    dataset_dir: str | Path, datalist_file: str | Path | None = None, fold: int | None = None
) -> Sequence[Image]:
    """Images to infer on: of a folder, or of a datalist its unlabelled part or a fold; none is decoded here.

    Args:
        dataset_dir: a folder of DICOM images, or the tree that the datalist was made of.
        datalist_file: made by `prepare`; it brings ids and lung boxes.
        fold: of a datalist, the labelled images of this fold instead of those without a label.

    Raises:
        InputError: where there is no image.
    """
    if datalist_file is None:
        return FolderImages(dataset_dir)
    return (
        test_images(datalist_file, dataset_dir) if fold is None else validation_images(datalist_file, dataset_dir, fold)
    )


class Journal(Protocol):
    """Record of the batches that are finished; `scripts.outputs.InferenceJournal` is one."""

    def begin(self) -> tuple[int, list[list[str]], list[str]]: ...

    def stage(self, position: int, rejected: Sequence[Sequence[str]]) -> None: ...

    def commit(self, entries: Sequence[Any]) -> None: ...


class StreamingDataLoader:
    """Batches of the readable images of a dataset, in order, each a list of items; the next ones are read meanwhile.

    Threads call the dataset, so its transform must read in child processes (`LoadRadiographd(isolated=True)`): they
    hold the limits, and images need no shared memory. Batches are the same for every `num_workers`.

    Args:
        dataset: its data are mappings with "image_id" and "study_id", its items those with "image" read.
        batch_size: images of a batch; fewer where they are very large.
        num_workers: child processes that read; 0 is taken as 1.
        rejected_file: CSV to write: image_id, study_id, reason, path, detail. It is written also where it stays empty,
            and grows with every batch.
        progress: description of a progress bar on terminals and of a line at the end; none without it.
        max_batch_pixels, max_waiting_pixels: bounds of memory, exceeded by one image (of each worker) at most.
        journal: where an earlier run was cut short, and what is finished from there on; without it all is read.

    While a batch is worked on, Ctrl-C and SIGTERM wait for its end; the process then ends with status 130 or 143.

    Raises:
        InputError: while it runs without a journal, where no image can be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 16,
        num_workers: int = 1,
        rejected_file: str | Path | None = None,
        progress: str = "",
        max_batch_pixels: int = MAX_BATCH_PIXELS,
        max_waiting_pixels: int = MAX_WAITING_PIXELS,
        journal: Journal | None = None,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(
                "a batch_size of 1 or more", repr(batch_size), "write how many images are predicted at once"
            )
        self.journal = journal
        self._running: Iterator[list[dict[str, Any]]] | None = None
        self.dataset, self.batch_size, self.num_workers = dataset, batch_size, max(1, num_workers)
        self.rejected_file, self.progress = rejected_file, progress
        self.max_batch_pixels, self.max_waiting_pixels = max_batch_pixels, max_waiting_pixels

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        self._running = self._read_batches()
        return self._running

    def close(self) -> None:
        """End the reading of a run that failed: threads that wait for space would hold the process."""
        if isinstance(self._running, Generator):
            self._running.close()

    def _read_batches(self) -> Iterator[list[dict[str, Any]]]:
        position, rejected, known_ids = (0, [], []) if self.journal is None else self.journal.begin()
        self._write_rejected(rejected)
        bar = tqdm(
            desc=self.progress,
            total=len(self.dataset),
            initial=position,
            unit="image",
            disable=None if self.progress else True,
            leave=False,
        )
        num_read, written, start = 0, len(rejected), time.monotonic()
        with bar, StopSignals() as signals:
            for batch, behind in self._build_batches(position, rejected, set(known_ids)):
                if len(rejected) > written:
                    self._write_rejected(rejected)
                    written = len(rejected)
                if self.journal is not None:
                    self.journal.stage(behind, rejected)
                if batch:
                    num_read += len(batch)
                    with signals.busy():
                        yield batch
                    del batch  # its images are gone before the next batch is built
                elif self.journal is not None:
                    self.journal.commit([])
                bar.update(behind - bar.n)
            bar.update(len(self.dataset) - bar.n)
        if self.journal is not None:
            self.journal.stage(len(self.dataset), rejected)
        self._write_rejected(rejected)
        self._format_rejected(rejected, num_read)
        if self.progress:
            seconds = time.monotonic() - start
            message = "%s: %d images in %.1f s, %.1f images/s"
            logging.getLogger(__name__).info(message, self.progress, num_read, seconds, num_read / max(seconds, 1e-9))

    def _build_batches(
        self, start: int, rejected: list[list[str]], ids: set[str]
    ) -> Iterator[tuple[list[dict[str, Any]], int]]:
        """Batches from the image `start` on, each with the position behind it; empty ones where all are rejected."""
        batch: list[dict[str, Any]] = []
        pixels, known = 0, len(rejected)
        items = _read_ahead(self.dataset, self.batch_size, self.num_workers, self.max_waiting_pixels, start)
        for position, item in enumerate(items, start + 1):
            if isinstance(item, RejectedImage):
                image = self.dataset.data[position - 1]
                rejected.append(
                    [number_id(image["image_id"], ids), str(image["study_id"]), item.reason, item.path, item.detail]
                )
            else:
                batch.append({**item, "image_id": number_id(item["image_id"], ids)})
                pixels += _count_pixels(item)
            is_full = len(batch) == self.batch_size or pixels >= self.max_batch_pixels
            if is_full or (not batch and len(rejected) - known >= self.batch_size):
                yield batch, position
                batch, pixels, known = [], 0, len(rejected)
        if batch:
            yield batch, len(self.dataset)

    def _write_rejected(self, rejected: Sequence[Sequence[str]]) -> None:
        if self.rejected_file is not None:
            with report_output_errors(Path(self.rejected_file).parent):
                write_csv(self.rejected_file, REJECTED_COLUMNS, rejected)

    def _format_rejected(self, rejected: Sequence[Sequence[str]], num_read: int) -> None:
        if self.journal is not None:  # it counts those of an earlier part too
            return
        counts = sorted(Counter(reason for _, _, reason, _, _ in rejected).items())
        reasons = ", ".join(f"{reason} {count}" for reason, count in counts)
        if not num_read:
            advice = f"see {self.rejected_file}" if self.rejected_file else "check that these are chest radiographs"
            raise InputError("at least one readable image", f"{len(rejected)} rejected, {reasons}", advice)
        if rejected:
            message = "%d of %d images rejected, %s"
            logging.getLogger(__name__).warning(message, len(rejected), len(rejected) + num_read, reasons)


def _read_ahead(
    dataset: Dataset, ahead: int, num_workers: int, max_waiting_pixels: int, start: int = 0
) -> Iterator[dict[str, Any] | RejectedImage]:
    """Items of a dataset from `start` on, or why one is rejected; `ahead` are read in advance, as far as they fit."""
    waiting = _WaitingPixels(max_waiting_pixels, start)

    def read(index: int) -> dict[str, Any] | RejectedImage:
        waiting.wait_for_space(index)
        item = _read_item(dataset, index)
        waiting.add(_count_pixels(item))
        return item

    indices = iter(range(start, len(dataset)))
    threads = ThreadPoolExecutor(num_workers, thread_name_prefix="image")
    pending: deque[Future[dict[str, Any] | RejectedImage]] = deque()
    try:
        pending.extend(threads.submit(read, index) for index in islice(indices, ahead))
        while pending:
            item = pending.popleft().result()
            waiting.hand_over(_count_pixels(item))
            pending.extend(threads.submit(read, index) for index in islice(indices, 1))
            yield item
    finally:
        waiting.open()
        threads.shutdown(cancel_futures=True)


def _read_item(dataset: Dataset, index: int) -> dict[str, Any] | RejectedImage:
    try:
        return dataset[index]
    except Exception as error:  # MONAI wraps what its transforms raise
        found = find_input_error(error)
        if not isinstance(found, RejectedImage):
            raise
        return found


def _count_pixels(item: dict[str, Any] | RejectedImage) -> int:
    return 0 if isinstance(item, RejectedImage) else int(item["image"].numel())


class _WaitingPixels:
    """The pixels of images that were read and not yet handed over; the next image in turn never waits for space."""

    def __init__(self, limit: int, first: int) -> None:
        self.limit, self.pixels, self.next = limit, 0, first
        self.changed = Condition()

    def wait_for_space(self, index: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.pixels < self.limit or index <= self.next)

    def add(self, pixels: int) -> None:
        with self.changed:
            self.pixels += pixels

    def hand_over(self, pixels: int) -> None:
        with self.changed:
            self.pixels, self.next = self.pixels - pixels, self.next + 1
            self.changed.notify_all()

    def open(self) -> None:
        """Let all wait no longer: what is still to be read is cancelled."""
        with self.changed:
            self.limit = float("inf")  # type: ignore[assignment]
            self.changed.notify_all()
