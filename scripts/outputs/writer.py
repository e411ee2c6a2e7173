"""Handler that writes an evaluator's findings as files."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from scripts.errors import REJECTED_COLUMNS, REJECTED_FILE, InputError
from scripts.files import add_rows, check_file_name, write_csv
from scripts.output_folders import report_output_errors
from scripts.outputs.identity import hash_weights
from scripts.outputs.journal import CAPTURES, SOURCES_FILE, SUBMISSION_FILE, Entry, InferenceJournal
from scripts.outputs.operating_point import OperatingPoint
from scripts.outputs.pictures import paint_overlay, write_mask, write_overlay
from scripts.outputs.relations import Relations
from scripts.outputs.study_pages import StudyPages
from scripts.outputs.tables import SOURCE_COLUMNS, list_source, read_rejected, write_tables
from scripts.predictions import DONE_FILE, RELATIONS, ImageFindings, NonFinitePrediction, find_non_finite, write_done
from scripts.processes import gather_items, is_first_process
from scripts.radiographs import READER_OPTIONS, read_isolated
from scripts.submission import write_submission
from scripts.switches import read_switch


class FindingsWriter:
    """Writes masks and overlays image by image, then the tables and the submission, and last a record of completeness.

    Args:
        output_dir: where everything goes: masks/, overlays/, images.csv, studies.csv, sources.csv, predictions.json,
            submission.csv, done.json, and with `dicom_results` also dicom/, with `study_pages` index.html and studies/.
        overlays: how many images get an overlay; -1: all.
        masks: whether images get a mask.
        weights: file of the weights that were used, or one for each network by name, for the record; a network that is
            the mean of several has a mapping of its own.
        pixels_key: key of the batch's items under which the whole image stands as it was read, `(1, H, W)`: overlays
            are painted on those pixels. Without it, the file is read again, in a limited child process.
        reader_options: options of `read_radiograph`; by default all that the loading transform may have read by its own
            options or by those of a datalist.
        dicom_results: also write the findings as DICOM objects, a folder for each image (`scripts.outputs.dicom`);
            the words true and false stand for themselves, which is how MONAI's command line hands them over.
        version: of the bundle, for those objects and the pages.
        operating_point: `{"threshold": ..., "option": ...}` on 1 - the probability of negative, for report and pages;
            without it no study is called positive or negative.
        journal: keeps each batch on disk, so that a run that was killed is gone on with; without it an output folder
            is written anew.

    Raises:
        InputError: where DICOM results are requested without weights or version, or the operating point is malformed,
            or `dicom_results` is something else; while it runs, where a prediction is not finite, or the folder cannot
            be written.

    The engine's output is a list of items with "pred", the mask `(W, H)` in the image's frame, x first as MONAI's own
    writers take it, and "result"; its batch is a list too, of items with `image_id`, `study_id` and `path`. An image
    that is out of scope by its result gets a row of rejected.csv, and no other. With `pixels_key` relations of images
    are found (`scripts.outputs.relations`): the same one twice, and what is called one study and is not.
    """

    def __init__(
        self,
        output_dir: str | Path,
        overlays: int = -1,
        weights: str | Path | Mapping[str, str | Path] | None = None,
        pixels_key: str | None = None,
        reader_options: dict[str, Any] | None = None,
        dicom_results: bool | str = False,
        version: str = "",
        operating_point: Mapping[str, Any] | None = None,
        journal: InferenceJournal | None = None,
        study_pages: bool | str = False,
        temperature: float = 1.0,
        masks: bool = True,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.masks = masks
        self.overlays = overlays
        self.weights = weights
        self.pixels_key = pixels_key
        self.reader_options = dict.fromkeys(READER_OPTIONS, True) if reader_options is None else reader_options
        wanted = read_switch(dicom_results, "dicom_results")
        self.write_dicom = _plan_dicom_results(version, weights, operating_point) if wanted else None
        paged = read_switch(study_pages, "study_pages")
        point = OperatingPoint.of(operating_point) if paged else None
        self.pages = StudyPages(self.output_dir, version, temperature, point) if paged else None
        self.journal = journal
        self.images: dict[str, ImageFindings] = {}
        self.paths: dict[str, str] = {}
        self.captures: dict[str, str] = {}
        self.rejected: dict[str, list[str]] = {}
        self.sources: dict[str, list[str]] = {}
        self.relations = Relations()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write_images)
        engine.add_event_handler(Events.COMPLETED, self._write_tables)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Engine) -> None:
        self.images, self.paths, self.captures, self.rejected, self.sources = {}, {}, {}, {}, {}
        self.relations = Relations()
        if self.journal is None:
            (self.output_dir / DONE_FILE).unlink(missing_ok=True)
            return
        self.journal.begin()
        for entry in self.journal.entries:
            self._keep(entry)

    def _fail(self, engine: Engine, error: BaseException) -> None:
        if close := getattr(engine.state.dataloader, "close", None):
            close()
        raise error  # ignite leaves that to whoever listens

    def _write_images(self, engine: Engine) -> None:
        pairs = list(zip(engine.state.batch, engine.state.output, strict=True))  # type: ignore[call-overload]
        found = [ImageFindings.from_result(item["image_id"], item["study_id"], each["result"]) for item, each in pairs]
        for image in found:
            check_file_name(f"{image.image_id}.png")
            self._reject_non_finite(image)
        entries: list[Entry] = []
        with report_output_errors(self.output_dir):
            for image, (item, output) in zip(found, pairs, strict=True):
                entry = Entry(image, str(item["path"]), out_of_scope=output["result"].get("out_of_scope", ""))
                if not entry.out_of_scope:
                    if self.pixels_key is not None:
                        entry = self.relations.describe(entry, item, self.pixels_key)
                    entry = replace(
                        entry, capture=self._write_pictures(entry.findings, np.asarray(output["pred"]).T, item)
                    )
                self._keep(entry)
                entries.append(entry)
        if self.journal is not None:
            self.journal.commit(entries)

    def _keep(self, entry: Entry) -> None:
        image = entry.findings
        if entry.out_of_scope:
            row = [image.image_id, image.study_id, "out_of_scope", entry.path, entry.out_of_scope]
            self.rejected[image.image_id] = row
            return
        self.images[image.image_id], self.paths[image.image_id] = image, entry.path
        if entry.capture:
            self.captures[image.image_id] = str(self.output_dir / entry.capture)
        self.sources[image.image_id] = list_source(entry)
        self.relations.keep(entry)

    def _reject_non_finite(self, image: ImageFindings) -> None:
        if what := find_non_finite(image):
            raise NonFinitePrediction(f"{what} by {self.weights or 'the network'}", [image.image_id])

    def _write_pictures(self, image: ImageFindings, mask: np.ndarray, item: Mapping[str, Any]) -> str:
        """Write an image's mask and, where it is to have one, its overlay; the overlay's path in the output folder."""
        if self.masks:
            write_mask(mask, self.output_dir / "masks" / f"{image.image_id}.png")
        wanted = self.overlays < 0 or len(self.images) < self.overlays
        if not (wanted or self.write_dicom or self.pages):
            return ""
        pixels = self._find_pixels(item)
        if self.pages:
            self.pages.write_layers(image.image_id, pixels, mask)
        if not wanted and not self.write_dicom:
            return ""
        # what no overlay was asked for is kept for its DICOM capture until the run's end, and no longer
        name = f"{'overlays' if wanted else CAPTURES}/{image.image_id}.png"
        write_overlay(paint_overlay(pixels, mask, image.keep_shown()), self.output_dir / name)
        return name

    def _find_pixels(self, item: Mapping[str, Any]) -> np.ndarray:
        if self.pixels_key is not None:
            return np.asarray(item[self.pixels_key])[0]
        return read_isolated(item["path"], **self.reader_options).pixels[0]

    def _write_tables(self, engine: Engine) -> None:
        self.images, self.paths = gather_items(self.images), gather_items(self.paths)
        self.captures = gather_items(self.captures)
        self.rejected, self.sources = gather_items(self.rejected), gather_items(self.sources)
        if not is_first_process():
            return
        with report_output_errors(self.output_dir):
            record = self._publish(list(self.images.values()))
            write_done(self.output_dir, record)
        logging.getLogger(__name__).info("wrote the findings of %d images to %s", len(self.images), self.output_dir)

    def _publish(self, images: list[ImageFindings]) -> dict[str, Any]:
        """Write the tables, the DICOM results and the pages; the record that they are whole."""
        if self.rejected:
            add_rows(self.output_dir / REJECTED_FILE, REJECTED_COLUMNS, self.rejected.values())
        write_tables(images, self.output_dir)
        write_csv(self.output_dir / SOURCES_FILE, SOURCE_COLUMNS, self.sources.values())
        write_submission(images, self.output_dir / SUBMISSION_FILE)
        record: dict[str, Any] = {
            "images": len(images),
            "rejected_out_of_scope": len(self.rejected),
            "studies": len({image.study_id for image in images}),
            "weights_sha256": hash_weights(self.weights),
        }
        if self.journal is not None:
            flags = Counter(flag for image in images for flag in image.flags if flag in RELATIONS)
            record |= {"found": len(self.journal.images), "rejected": self.journal.count_rejected(), **flags}
        if self.write_dicom:
            hashes = record["weights_sha256"]
            counts = self.write_dicom(images, self.paths, self.captures, self.output_dir, hashes, self.reader_options)
            record["dicom_results"] = counts
            shutil.rmtree(self.output_dir / CAPTURES, ignore_errors=True)
        if self.pages:
            self.pages.write(images, read_rejected(self.output_dir), record["weights_sha256"])
        return record


def _plan_dicom_results(
    version: str, weights: object, operating_point: Mapping[str, Any] | None
) -> Callable[..., dict[str, int]]:
    # highdicom is imported only where it is used: MONAI Label's pydicom is too old for it
    from scripts.outputs.dicom.batch import write_run

    if not weights or not version:
        raise InputError("weights and a version, for DICOM results", "none", "set both, or leave DICOM results out")
    return partial(write_run, version=version, point=OperatingPoint.of(operating_point))
