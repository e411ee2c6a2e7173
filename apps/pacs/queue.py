"""Durable queue of studies in one SQLite file: what came, what was scored, what was sent.

The reason for a module of its own: whatever is killed, and whenever, a study is in exactly one state, and goes on from
it. Nothing in the file names a patient: studies and images stand there by hashes of their UIDs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.pacs.database import Database

#: States of a study. received: images come; quiet: to be scored; scored: to be sent; the others are the end.
RECEIVED, QUIET, SCORED, SENT, REJECTED, FAILED = "received", "quiet", "scored", "sent", "rejected", "failed"
STATES = (RECEIVED, QUIET, SCORED, SENT, REJECTED, FAILED)
WAITING = (RECEIVED, QUIET, SCORED)

#: Outcomes of `Queue.add_image`.
NEW, KNOWN, DIFFERENT = "new", "known", "different"


@dataclass(frozen=True)
class Study:
    """A study as it stands in the queue; `revision` shows whether an image came since."""

    study_id: str
    state: str
    reason: str
    revision: int
    version: int
    attempts: int
    due: float
    last_image_at: float


@dataclass(frozen=True)
class Result:
    """One object that is to be sent: kind as `scripts.outputs.dicom` names it, its UIDs, and its file."""

    sop_uid: str
    series_uid: str
    kind: str
    file: str
    version: int = 0


class Queue(Database):
    """The queue of one service, for all of its threads.

    Args:
        path: the file; made where it is missing.
        attempts: to score or to send, before a study is failed.
        pauses: first and longest pause between attempts, seconds.
    """

    def __init__(self, path: Path, attempts: int = 20, pauses: tuple[float, float] = (2.0, 600.0)) -> None:
        super().__init__(path)
        self.attempts, self.pauses = attempts, pauses

    # ---- images

    def add_image(self, study_id: str, image_id: str, digest: str, written: bool = True) -> str:
        """Enter an image whose file is safe on disk; with a new image the study begins to wait anew.

        Args:
            study_id, image_id: hashes of their UIDs.
            digest: of its content.
            written: the file was missing until now; a study that could not be scored without it is tried again.

        Returns:
            NEW, KNOWN (the same content came before) or DIFFERENT (another content of this UID came before).
        """
        now = time.time()
        with self._transaction() as database:
            known = self.find_digest(study_id, image_id)
            if known is not None:
                if written:
                    self._bring_back(study_id, now)
                return KNOWN if known == digest else DIFFERENT
            database.execute("INSERT INTO images VALUES (?, ?, ?)", (study_id, image_id, digest))
            database.execute(
                "INSERT INTO studies (study_id, state, revision, last_image_at) VALUES (?, ?, 1, ?)"
                " ON CONFLICT (study_id) DO UPDATE SET state = excluded.state, reason = '', attempts = 0,"
                " revision = revision + 1, last_image_at = excluded.last_image_at, kept = 1",
                (study_id, RECEIVED, now),
            )
        return NEW

    def find_digest(self, study_id: str, image_id: str) -> str | None:
        """Digest of an image that came before; None for a new one."""
        query = "SELECT digest FROM images WHERE study_id = ? AND image_id = ?"
        return next((row["digest"] for row in self._read(query, study_id, image_id)), None)

    def list_images(self, study_id: str) -> list[str]:
        """Ids of a study's images, sorted."""
        query = "SELECT image_id FROM images WHERE study_id = ? ORDER BY image_id"
        return [row["image_id"] for row in self._read(query, study_id)]

    def find_studies(self, image_id: str) -> list[str]:
        """Studies that an image belongs to: one, unless two patients share a UID."""
        return [row["study_id"] for row in self._read("SELECT study_id FROM images WHERE image_id = ?", image_id)]

    # ---- states

    def settle(self, quiet_seconds: float) -> int:
        """Let the studies without a new image for so long be scored; how many."""
        now = time.time()
        with self._transaction() as database:
            return database.execute(
                "UPDATE studies SET state = ?, quiet_at = ?, due = ? WHERE state = ? AND last_image_at <= ?",
                (QUIET, now, now, RECEIVED, now - quiet_seconds),
            ).rowcount

    def take(self, state: str) -> Study | None:
        """The study of a state that has waited longest; it stays in the queue as it is."""
        query = "SELECT * FROM studies WHERE state = ? AND due <= ? ORDER BY due LIMIT 1"
        column = {QUIET: "scoring_at", SCORED: "sending_at"}[state]
        for row in self._read(query, state, now := time.time()):
            with self._transaction() as database:
                database.execute(f"UPDATE studies SET {column} = ? WHERE study_id = ?", (now, row["study_id"]))
            return _make_study(row)
        return None

    def finish_scoring(self, study: Study, version: int, results: Iterable[Result]) -> bool:
        """Enter the results; False where an image came meanwhile, and nothing is entered.

        Objects that were entered before are the same ones, and are not sent again.
        """
        now = time.time()
        with self._transaction() as database:
            if not self._move(study, SCORED, version=version, attempts=0, due=now, scored_at=now):
                return False
            database.executemany(
                "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?, ?, NULL)",
                [(each.sop_uid, each.series_uid, study.study_id, version, each.kind, each.file) for each in results],
            )
        return True

    def finish_sending(self, study: Study) -> bool:
        """Note that all is sent; False where an image came meanwhile."""
        with self._transaction():
            return self._move(study, SENT, attempts=0, sent_at=time.time())

    def reject(self, study: Study, reason: str) -> bool:
        """End a study of which nothing can be scored; False where an image came meanwhile."""
        with self._transaction():
            return self._move(study, REJECTED, reason=reason, attempts=0)

    def postpone(self, study: Study, reason: str) -> str:
        """Try a study again after a pause, or fail it; its state."""
        first, longest = self.pauses
        attempts = study.attempts + 1
        state = FAILED if attempts >= self.attempts else study.state
        due = time.time() + min(longest, first * 2 ** min(attempts - 1, 30))
        with self._transaction():
            self._move(study, state, reason=reason, attempts=attempts, due=due)
        return state

    # ---- objects

    def list_unsent(self, study_id: str) -> list[Result]:
        """Objects that are still to be sent, earlier versions first, segmentations before what shows them."""
        query = "SELECT * FROM objects WHERE study_id = ? AND sent_at IS NULL ORDER BY version, kind DESC, sop_uid"
        return [_make_result(row) for row in self._read(query, study_id)]

    def list_results(self, study_id: str) -> list[Result]:
        """All objects of a study."""
        return [_make_result(row) for row in self._read("SELECT * FROM objects WHERE study_id = ?", study_id)]

    def list_reports(self, study_id: str, version: int) -> list[Result]:
        """Reports of one version of a study."""
        query = "SELECT * FROM objects WHERE study_id = ? AND version = ? AND kind = 'report' ORDER BY sop_uid"
        return [_make_result(row) for row in self._read(query, study_id, version)]

    def note_sent(self, sop_uid: str) -> None:
        """Note that an object was stored by its destination."""
        with self._transaction() as database:
            database.execute("UPDATE objects SET sent_at = ? WHERE sop_uid = ?", (time.time(), sop_uid))

    def is_own(self, sop_uid: str) -> bool:
        """Tell a result of ours that comes back from an image."""
        return bool(list(self._read("SELECT 1 FROM objects WHERE sop_uid = ?", sop_uid)))

    # ---- the watched server

    def find_watched(self, study: str) -> int:
        """Number of instances with which a study was last dealt with; 0 for none."""
        rows = self._read("SELECT instances FROM watched WHERE study = ?", study)
        return next((int(row["instances"]) for row in rows), 0)

    def note_watched(self, study: str, instances: int) -> None:
        """Note with how many instances a study was dealt with."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO watched VALUES (?, ?)", (study, instances))

    # ---- people

    def count_states(self) -> dict[str, int]:
        """Number of studies in each state."""
        rows = self._read("SELECT state, count(*) AS number FROM studies GROUP BY state")
        return {**dict.fromkeys(STATES, 0), **{row["state"]: row["number"] for row in rows}}

    def count_waiting(self) -> int:
        """Number of studies that are not at their end."""
        counts = self.count_states()
        return sum(counts[state] for state in WAITING)

    def sum_steps(self) -> dict[str, tuple[int, float]]:
        """Number of studies that were sent, and the seconds of all of them in each step since their last image."""
        times = ("last_image_at", "quiet_at", "scoring_at", "scored_at", "sending_at", "sent_at")
        steps = ("waiting_for_images", "waiting_for_scoring", "scoring", "waiting_for_sending", "sending")
        pairs = dict(zip(steps, zip(times, times[1:], strict=False), strict=True))
        sums = ", ".join(f"total({end} - {start}) AS {step}" for step, (start, end) in pairs.items())
        (row,) = self._read(f"SELECT count(*) AS number, {sums} FROM studies WHERE state = ?", SENT)
        return {step: (row["number"], row[step]) for step in steps}

    def list_studies(self, states: Sequence[str] = STATES, limit: int = -1) -> list[sqlite3.Row]:
        """Studies with the numbers of their images and of their objects, the latest first."""
        marks = ", ".join("?" * len(states))
        query = f"""SELECT *,
            (SELECT count(*) FROM images WHERE images.study_id = studies.study_id) AS images,
            (SELECT count(*) FROM objects WHERE objects.study_id = studies.study_id) AS objects,
            (SELECT count(*) FROM objects WHERE objects.study_id = studies.study_id AND sent_at IS NOT NULL) AS stored
            FROM studies WHERE state IN ({marks}) ORDER BY last_image_at DESC LIMIT ?"""
        return list(self._read(query, *states, limit))

    def retry(self, study_id: str) -> bool:
        """Let a failed or rejected study go on where it stood; False where it is no such study."""
        unsent = bool(self.list_unsent(study_id))
        with self._transaction() as database:
            changed = database.execute(
                "UPDATE studies SET state = ?, reason = '', attempts = 0, due = ?, revision = revision + 1"
                " WHERE study_id = ? AND state IN (?, ?)",
                (SCORED if unsent else QUIET, time.time(), study_id, FAILED, REJECTED),
            )
            return bool(changed.rowcount)

    def forget(self, study_id: str) -> bool:
        """Remove all rows of a study; False where there is none."""
        with self._transaction() as database:
            for table in ("images", "objects"):
                database.execute(f"DELETE FROM {table} WHERE study_id = ?", (study_id,))
            return bool(database.execute("DELETE FROM studies WHERE study_id = ?", (study_id,)).rowcount)

    def list_expired(self, keep_seconds: float) -> list[str]:
        """Finished studies whose files may go."""
        query = "SELECT study_id FROM studies WHERE kept = 1 AND state IN (?, ?) AND last_image_at < ?"
        return [row["study_id"] for row in self._read(query, SENT, REJECTED, time.time() - keep_seconds)]

    def note_removed(self, study_id: str) -> None:
        """Note that the files of a study are gone."""
        with self._transaction() as database:
            database.execute("UPDATE studies SET kept = 0 WHERE study_id = ?", (study_id,))

    # ---- the file

    def _bring_back(self, study_id: str, now: float) -> None:
        self._database.execute("UPDATE studies SET kept = 1 WHERE study_id = ?", (study_id,))
        self._database.execute(
            "UPDATE studies SET state = ?, reason = '', last_image_at = ?, revision = revision + 1"
            " WHERE study_id = ? AND state = ?",
            (RECEIVED, now, study_id, REJECTED),
        )

    def _move(self, study: Study, state: str, **values: object) -> bool:
        """Change a study that is still as it was taken."""
        columns = ", ".join(f"{name} = ?" for name in values)
        query = f"UPDATE studies SET state = ?, {columns} WHERE study_id = ? AND state = ? AND revision = ?"
        arguments = (state, *values.values(), study.study_id, study.state, study.revision)
        return bool(self._database.execute(query, arguments).rowcount)


def _make_study(row: sqlite3.Row) -> Study:
    return Study(**{name: row[name] for name in Study.__dataclass_fields__})


def _make_result(row: sqlite3.Row) -> Result:
    return Result(**{name: row[name] for name in Result.__dataclass_fields__})
