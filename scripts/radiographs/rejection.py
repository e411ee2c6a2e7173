"""Rejection inside the reader: the reason is known, the path not yet."""

from __future__ import annotations


class Rejection(Exception):
    """Reason why an image is not read; `read_radiograph` turns it into a `RejectedImage` with the image's path.

    Args:
        reason: a key of `scripts.errors.REASONS`.
        detail: what was found: numbers and words of this program, never a text of the file.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
