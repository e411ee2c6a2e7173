"""Journal of an unfinished inference: what was found so far, on disk batch by batch, so that a killed run goes on.

The reason for a module of its own: tables are written at the end, where a study's images are all known, and a kill
before would lose them all. A batch is the unit, because predictions of an image may differ in their last bits with the
batch that it was in: what comes behind a kill is batched as it would have been without one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from scripts.errors import REJECTED_FILE, InputError
from scripts.output_folders import claim_folder, find_results, remove_results, report_output_errors
from scripts.outputs.identity import hash_images, hash_weights, read_command
from scripts.outputs.outcome import report_outcome
from scripts.predictions import DONE_FILE, PREDICTIONS_FILE, ImageFindings, read_done
from scripts.processes import gather_items, is_first_process
from scripts.switches import read_switch

JOURNAL_FILE = "journal.jsonl"
SUBMISSION_FILE, SOURCES_FILE = "submission.csv", "sources.csv"
CAPTURES = ".captures"

#: What a run of findings writes, as patterns: `--replace true` removes these files, and nothing else.
RESULTS: tuple[str, ...] = (
    *(DONE_FILE, JOURNAL_FILE, REJECTED_FILE, "images.csv", "studies.csv", PREDICTIONS_FILE, SUBMISSION_FILE),
    SOURCES_FILE,
    *("masks/*.png", "overlays/*.png", f"{CAPTURES}/*.png"),
    *("index.html", "studies/*.html", "studies/*.png", "studies/images/*.png", "studies/masks/*.png"),
    *(f"dicom/*/{kind}.dcm" for kind in ("report", "presentation", "segmentation", "capture")),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One image that was predicted, or found out of scope.

    Args:
        findings: of the image.
        path: the image.
        capture: PNG of its overlay, relative to the output folder; empty where there is none.
        out_of_scope: why it is not scored; empty where it is.
        pixels: digest of its pixels; empty where they are not known.
        sop_uid, study_uid, series_uid: its identifiers; empty where its header does not say them.
        patient: a hash of its PatientID and its study's UID.
    """

    findings: ImageFindings
    path: str
    capture: str = ""
    out_of_scope: str = ""
    pixels: str = ""
    sop_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    patient: str = ""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Entry:
        findings = row["findings"]
        image = ImageFindings.from_result(findings["image_id"], findings["study_id"], findings)
        return cls(image, **{each.name: str(row[each.name]) for each in fields(cls) if each.name != "findings"})


def claim_results(output_dir: str | Path, replace: bool | str = False, results: Sequence[str] = RESULTS) -> Path:
    """Take an output folder for a run, by the first of its processes.

    Args:
        output_dir: the folder.
        replace: remove an earlier run's results first.
        results: patterns of what such a run writes; the first, which stands for all, is the first to go.

    Raises:
        InputError: where another process writes there, or results stand there that are not to be replaced.
    """
    if is_first_process():
        _claim(output_dir, replace, results)
    gather_items({})  # the others begin when it is done
    return Path(output_dir)


def _claim(output_dir: str | Path, replace: bool | str, results: Sequence[str]) -> None:
    with report_output_errors(output_dir):
        folder = claim_folder(output_dir, ())
        found = find_results(folder, results)
        if found and not read_switch(replace, "replace"):
            standing = (folder / results[0]).is_file()
            raise InputError(
                "an output folder without results",
                f"{'those of a finished run' if standing else found[0].name} in {folder}",
                "name another --output_dir, or remove them with --replace true",
            )
        (folder / results[0]).unlink(missing_ok=True)
        remove_results([path for path in found if path != folder / results[0]])
        for path in sorted(
            {path.parent for path in found} - {folder}, reverse=True
        ):  # a folder before the one above it
            if not any(path.iterdir()):
                path.rmdir()


@dataclass
class InferenceJournal:
    """Findings batch by batch on disk: head of the run's identity, then a line for each batch, each with a checksum.

    Args:
        output_dir: the run's folder; `claim` takes it.
        images: all images of the run, in order: `FolderImages` or a list of mappings.
        weights: file of the weights of each network by name; of several members a mapping of its own.
        options: everything of the configuration that changes a result, as JSON has it.
        version: of the bundle.
        replace: remove the results of another run first; this one's own unfinished ones are gone on with all the same.

    A last line that a kill or a full disk cut short is dropped; its batch is predicted again.
    """

    output_dir: str | Path
    images: Sequence[Mapping[str, Any]]
    weights: Mapping[str, Any]
    options: Mapping[str, Any]
    version: str
    replace: bool | str = False
    entries: list[Entry] = field(default_factory=list, init=False)
    rejected: list[list[str]] = field(default_factory=list, init=False)
    position: int = field(default=0, init=False)
    _claimed: bool = field(default=False, init=False, repr=False)
    _staged: tuple[int, list[list[str]]] = field(default=(0, []), init=False, repr=False)

    @property
    def path(self) -> Path:
        return Path(self.output_dir) / JOURNAL_FILE

    def claim(self) -> None:
        """Claim the folder and read what an unfinished run left in it; no image is read, and nothing written.

        Raises:
            InputError: where another process writes there, a finished run's results stand there or another run's
                journal, or weights are missing.
        """
        self.entries, self.rejected, self.position, self._staged = [], [], 0, (0, [])
        with report_output_errors(self.output_dir):
            claim_folder(self.output_dir, ())
            known = self._find_unfinished(read_switch(self.replace, "replace"))
        if known:
            for line in known[1:]:
                self._add(int(line["end"]), line["rejected"], [Entry.from_json(row) for row in line["images"]])
            _log.info("going on behind %d of %d images", self.position, len(self.images))
        else:
            claim_results(self.output_dir, self.replace)
        self._claimed = True

    def begin(self) -> tuple[int, list[list[str]], list[str]]:
        """Begin the file, unless it is there; position of the first image left, rejected rows, and ids given so far."""
        if not self._claimed:
            self.claim()
        if not self.path.is_file():
            with report_output_errors(self.output_dir):
                self._append(self._identify())
        ids = [entry.findings.image_id for entry in self.entries] + [row[0] for row in self.rejected]
        return self.position, [list(row) for row in self.rejected], ids

    def stage(self, position: int, rejected: Sequence[Sequence[str]]) -> None:
        """Note which images the coming `commit` answers for: those before a position, and all rejected so far."""
        self._staged = (position, [list(row) for row in rejected[len(self.rejected) :]])

    def commit(self, entries: Sequence[Entry]) -> None:
        """Put a batch on disk whose masks and overlays are there; it survives a kill from now on."""
        position, rejected = self._staged
        rows = [{**vars(entry), "findings": asdict(entry.findings)} for entry in entries]
        with report_output_errors(self.output_dir):
            self._append({"end": position, "rejected": rejected, "images": rows})
        self._add(position, rejected, entries)

    def finish(self) -> None:
        """Remove the file, the tables have it all, and report the outcome.

        Raises:
            SystemExit, InputError: as `report_outcome`.
        """
        record = read_done(self.output_dir)
        self.path.unlink(missing_ok=True)
        self._claimed = False
        report_outcome(record, self.output_dir)

    def count_rejected(self) -> dict[str, int]:
        """Number of rejected images by reason, those out of scope among them."""
        reasons = [row[2] for row in (*self.rejected, *self._staged[1])]
        return dict(
            sorted(Counter([*reasons, *("out_of_scope" for each in self.entries if each.out_of_scope)]).items())
        )

    def _add(self, position: int, rejected: Sequence[Sequence[str]], entries: Sequence[Entry]) -> None:
        self.position, self._staged = position, (position, [])
        self.rejected += [list(row) for row in rejected]
        self.entries += entries

    def _identify(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "weights": hash_weights(self.weights),
            "options": json.loads(json.dumps(self.options, default=lambda each: type(each).__name__)),
            "command": read_command(),
            "images": hash_images(self.images),
        }

    def _find_unfinished(self, replace: bool) -> list[dict[str, Any]]:
        """Lines of this run's own journal, where it was cut short; none where another one is to be replaced."""
        if (self.path.parent / DONE_FILE).is_file():
            return []
        own = self._identify()
        try:
            known = self._read()
            if known:
                self._compare(own, known[0])
        except InputError:
            if not replace:
                raise
            return []
        return known

    def _compare(self, own: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        if different := [name for name in own if own[name] != known.get(name)]:
            raise InputError(
                f"the unfinished run of {self.path.parent} again",
                f"another one: {', '.join(different)} differ",
                "repeat its command, name another --output_dir, or remove its results with --replace true",
            )

    def _append(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, separators=(",", ":"))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{_sum_up(text)} {text}\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[dict[str, Any]]:
        """Whole lines of the file, head first; a last one that was cut short is cut off the file."""
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().splitlines(keepends=True)
        whole = [_read_line(line) for line in lines]
        kept = next((number for number, line in enumerate(whole) if line is None), len(lines))
        if kept < len(lines) - 1:
            found = f"a changed line {kept + 1} in {self.path}"
            raise InputError("a journal as it was written", found, "remove the results with --replace true")
        if kept < len(lines):
            os.truncate(self.path, sum(map(len, lines[:kept])))
        if not kept:
            self.path.unlink()  # cut short in its head: nothing was finished
        return [line for line in whole[:kept] if line is not None]


def _sum_up(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _read_line(line: bytes) -> dict[str, Any] | None:
    """The content of a line, None where it is not whole."""
    digest, _, text = line.decode("utf-8", "replace").partition(" ")
    if not text.endswith("\n") or _sum_up(text[:-1]) != digest:
        return None
    return dict(json.loads(text))
