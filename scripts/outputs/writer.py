"""Handler that writes an evaluator's findings as files."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from scripts.errors import REJECTED_COLUMNS, REJECTED_FILE, InputError
from scripts.files import add_rows, check_file_name, compute_sha256
from scripts.outputs.pictures import paint_overlay, write_mask, write_overlay
from scripts.outputs.tables import write_tables
from scripts.predictions import DONE_FILE, ImageFindings, write_done
from scripts.processes import gather_items, is_first_process
from scripts.radiographs import read_isolated
from scripts.submission import write_submission

CAPTURES = ".captures"


class FindingsWriter:
    """Writes masks and overlays image by image, then the tables and the submission, and last a record of completeness.

    Args:
        output_dir: where everything goes: masks/, overlays/, images.csv, studies.csv, predictions.json, submission.csv,
            done.json, and with `dicom_results` also dicom/.
        overlays: how many images get an overlay; -1: all.
        weights: file of the weights that were used, or one for each network by name, for the record; a network that is
            the mean of several has a mapping of its own.
        pixels_key: key of the batch's items under which the whole image stands as it was read, `(1, H, W)`: overlays
            are painted on those pixels. Without it, the file is read again, in a limited child process.
        reader_options: options of `read_radiograph`, as the loading transform has them.
        dicom_results: also write the findings as DICOM objects, a folder for each image (`scripts.outputs.dicom`);
            the words true and false stand for themselves, which is how MONAI's command line hands them over.
        version: of the bundle, for those objects.
        operating_point: `{"threshold": ..., "option": ...}` on 1 - the probability of negative, for their report;
            without it no study is called positive or negative.

    Raises:
        InputError: where DICOM results are requested without weights or version, or the operating point is malformed,
            or `dicom_results` is something else.

    The engine's output is a list of items with "pred", the mask `(W, H)` in the image's frame, x first as MONAI's own
    writers take it, and "result"; its batch is a list too, of items with `image_id`, `study_id` and `path`. An image
    that is out of scope by its result gets a row of rejected.csv, and no other.
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
    ) -> None:
        self.output_dir = Path(output_dir)
        self.overlays = overlays
        self.weights = weights
        self.pixels_key = pixels_key
        self.reader_options = reader_options or {}
        wanted = _read_switch(dicom_results)
        self.write_dicom = _plan_dicom_results(version, weights, operating_point) if wanted else None
        self.images: dict[str, ImageFindings] = {}
        self.paths: dict[str, str] = {}
        self.captures: dict[str, str] = {}
        self.rejected: dict[str, list[str]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write_images)
        engine.add_event_handler(Events.COMPLETED, self._write_tables)

    def _start(self, engine: Engine) -> None:
        self.images, self.paths, self.captures, self.rejected = {}, {}, {}, {}
        (self.output_dir / DONE_FILE).unlink(missing_ok=True)

    def _write_images(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):  # type: ignore[call-overload]
            image = ImageFindings.from_result(item["image_id"], item["study_id"], output["result"])
            check_file_name(f"{image.image_id}.png")
            if why := output["result"].get("out_of_scope"):
                self.rejected[image.image_id] = [image.image_id, image.study_id, "out_of_scope", str(item["path"]), why]
                continue
            self.images[image.image_id], self.paths[image.image_id] = image, str(item["path"])
            self._write_pictures(image, np.asarray(output["pred"]).T, item)

    def _write_pictures(self, image: ImageFindings, mask: np.ndarray, item: Mapping[str, Any]) -> None:
        write_mask(mask, self.output_dir / "masks" / f"{image.image_id}.png")
        wanted = self.overlays < 0 or len(self.images) <= self.overlays
        if wanted or self.write_dicom:
            # what no overlay was asked for is kept for its DICOM capture until the run's end, and no longer
            path = self.output_dir / ("overlays" if wanted else CAPTURES) / f"{image.image_id}.png"
            write_overlay(paint_overlay(self._find_pixels(item), mask, image.keep_shown()), path)
            self.captures[image.image_id] = str(path)

    def _find_pixels(self, item: Mapping[str, Any]) -> np.ndarray:
        if self.pixels_key is not None:
            return np.asarray(item[self.pixels_key])[0]
        return read_isolated(item["path"], **self.reader_options).pixels[0]

    def _write_tables(self, engine: Engine) -> None:
        self.images, self.paths = gather_items(self.images), gather_items(self.paths)
        self.captures = gather_items(self.captures)
        self.rejected = gather_items(self.rejected)
        if not is_first_process():
            return
        images = list(self.images.values())
        if self.rejected:
            add_rows(self.output_dir / REJECTED_FILE, REJECTED_COLUMNS, self.rejected.values())
        write_tables(images, self.output_dir)
        write_submission(images, self.output_dir / "submission.csv")
        record: dict[str, Any] = {
            "images": len(images),
            "rejected_out_of_scope": len(self.rejected),
            "studies": len({image.study_id for image in images}),
            "weights_sha256": _hash_weights(self.weights),
        }
        if self.write_dicom:
            hashes = record["weights_sha256"]
            counts = self.write_dicom(images, self.paths, self.captures, self.output_dir, hashes, self.reader_options)
            record["dicom_results"] = counts
            shutil.rmtree(self.output_dir / CAPTURES, ignore_errors=True)
        write_done(self.output_dir, record)
        logging.getLogger(__name__).info("wrote the findings of %d images to %s", len(images), self.output_dir)


def _plan_dicom_results(
    version: str, weights: object, operating_point: Mapping[str, Any] | None
) -> Callable[..., dict[str, int]]:
    # highdicom is imported only where it is used: MONAI Label's pydicom is too old for it
    from scripts.outputs.dicom import OperatingPoint
    from scripts.outputs.dicom.batch import write_run

    if not weights or not version:
        raise InputError("weights and a version, for DICOM results", "none", "set both, or leave DICOM results out")
    return partial(write_run, version=version, point=OperatingPoint.of(operating_point))


def _read_switch(value: bool | str) -> bool:
    """A text of a command line is true by itself, "false" too."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InputError("dicom_results true or false", repr(value)[:80], "write one of them")
    return value


def _hash_weights(weights: str | Path | Mapping[str, str | Path] | None) -> Any:
    """One hash, or one for each network; a network of several members has one for each of them."""
    if not isinstance(weights, Mapping):
        return compute_sha256(weights) if weights else None
    hashes: dict[str, str] = {}
    for name, path in weights.items():
        members = {f"{name} {each}": file for each, file in path.items()} if isinstance(path, Mapping) else {name: path}
        hashes |= {member: compute_sha256(file) for member, file in members.items()}
    return hashes
