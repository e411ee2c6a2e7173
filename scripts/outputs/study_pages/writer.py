"""Writer of the study pages and their index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES
from scripts.outputs.operating_point import OperatingPoint
from scripts.outputs.study_pages.content import (
    IMAGES,
    MASKS,
    RejectedContent,
    StudyContent,
    describe_rejected,
    gather_studies,
)
from scripts.outputs.study_pages.pictures import write_layers, write_study_picture
from scripts.pages import render_page
from scripts.predictions import MIN_SHOWN_SCORE, ImageFindings

INDEX_FILE, STUDIES = "index.html", "studies"

_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class StudyPages:
    """Pages of a run.

    Args:
        output_dir: of the run, with masks/ in it.
        version: of the bundle.
        temperature: that the probabilities were calibrated by.
        point: where a study is called positive, if it is called.
    """

    output_dir: Path
    version: str
    temperature: float = 1.0
    point: OperatingPoint | None = None

    def write_layers(self, image_id: str, pixels: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
        """Write what a page shows of an image: `pixels` `(H, W)` in [0, 1] and `mask` `(H, W)` of zeros and ones."""
        folder, name = self.output_dir / STUDIES, f"{image_id}.png"
        write_layers(pixels, mask, folder / IMAGES / name, folder / MASKS / name)

    def write(
        self, images: Sequence[ImageFindings], rejected: Sequence[Mapping[str, str]], weights_sha256: Any
    ) -> None:
        """Write the pages of all studies, and last the index.

        Args:
            images: findings, whose layers and masks were written.
            rejected: rows of rejected.csv.
            weights_sha256: hash of the weights, one for each network by name, or None.
        """
        folder, unread = self.output_dir / STUDIES, describe_rejected(rejected)
        studies = gather_studies(images, unread, self.output_dir / "masks", self.point)
        hashes = weights_sha256 if isinstance(weights_sha256, Mapping) else {"network": weights_sha256 or "not known"}
        for position, study in enumerate(studies):
            write_study_picture(study, folder, folder / f"{study.name}.png", self._describe_provenance(hashes))
            content = {"study": study, "run": self._describe_run(hashes), **_name_neighbours(studies, position)}
            write_text(folder / f"{study.name}.html", render_page(_TEMPLATES / "study.html", content))
        self.write_index(studies, unread, hashes)

    def write_index(
        self, studies: Sequence[StudyContent], rejected: Sequence[RejectedContent], hashes: Mapping[str, str]
    ) -> None:
        """Write the list of all studies, in their order, and of what was rejected."""
        run, classes = self._describe_run(hashes), STUDY_CLASSES
        content = {"studies": studies, "rejected": rejected, "run": run, "classes": classes, "folder": STUDIES}
        write_text(self.output_dir / INDEX_FILE, render_page(_TEMPLATES / "index.html", content))

    def _describe_run(self, hashes: Mapping[str, str]) -> dict[str, Any]:
        origin = (
            "as the networks give them" if self.temperature == 1 else f"scaled with temperature {self.temperature:g}"
        )
        return {
            "version": self.version or "not known",
            "probabilities": f"Probabilities {origin}",
            "point": self.point,
            "hashes": hashes,
            "shown_from": MIN_SHOWN_SCORE,
        }

    def _describe_provenance(self, hashes: Mapping[str, str]) -> str:
        weights = ", ".join(f"{name.replace('_', ' ')} {sha256[:12]}" for name, sha256 in hashes.items())
        return f"version {self.version or 'not known'}, {weights}"


def _name_neighbours(studies: Sequence[StudyContent], position: int) -> dict[str, Any]:
    """The studies before and behind one in the index's order, None at its ends."""
    return {
        "position": position + 1,
        "number": len(studies),
        "before": studies[position - 1] if position else None,
        "behind": studies[position + 1] if position + 1 < len(studies) else None,
    }
