"""SQLite file of the queue: its tables, and one writer at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    study_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    revision INTEGER NOT NULL DEFAULT 0,  -- raised by every image: what was computed of fewer images is dropped
    version INTEGER NOT NULL DEFAULT 0,   -- of its results
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    last_image_at REAL NOT NULL,
    quiet_at REAL, scoring_at REAL, scored_at REAL, sending_at REAL, sent_at REAL,
    kept INTEGER NOT NULL DEFAULT 1       -- whether its files are still there
);
CREATE INDEX IF NOT EXISTS by_state ON studies (state, due);
CREATE TABLE IF NOT EXISTS images (
    study_id TEXT NOT NULL, image_id TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (study_id, image_id)
);
CREATE INDEX IF NOT EXISTS by_image ON images (image_id);
CREATE TABLE IF NOT EXISTS objects (
    sop_uid TEXT PRIMARY KEY, series_uid TEXT NOT NULL, study_id TEXT NOT NULL, version INTEGER NOT NULL,
    kind TEXT NOT NULL, file TEXT NOT NULL, sent_at REAL
);
CREATE INDEX IF NOT EXISTS by_study ON objects (study_id, version);
CREATE TABLE IF NOT EXISTS watched (study TEXT PRIMARY KEY, instances INTEGER NOT NULL);
"""


class Database:
    """A file in write-ahead mode, for all threads of a process; other processes may read and write it too.

    Args:
        path: the file; made where it is missing, readable by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # what was confirmed survives a power cut
        with self._transaction() as database:
            for statement in _SCHEMA.split(";\n"):
                database.execute(statement)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _read(self, query: str, *arguments: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(query, arguments).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of a block, or nothing of it; a block inside of another belongs to that."""
        with self._lock:
            if self._database.in_transaction:
                yield self._database
                return
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
