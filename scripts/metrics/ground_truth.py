"""Ground truth of a datalist or of the challenge's tables, against which predictions are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.boxes import Boxes, as_boxes
from scripts.datalist import read_datalist, select_scored_boxes
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.tables import read_tables

Image = Mapping[str, Any]


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth of a set of images.

    Args:
        study_labels: class name of each study, by study id.
        image_boxes: opacity boxes `(N, 4)` of each image in image pixels, by image id; no box means "none".
        image_studies: study id of each image, by image id.
        patients: patient of each study, by study id, or None where nobody knows: intervals are then by study.
        unscored_studies, unscored_images: ids that are known and not scored here (another fold, or no label): a
            submission may hold them.

    Raises:
        ValueError: where an image's study has no label, or a study has no patient though patients are given.
    """

    study_labels: Mapping[str, str]
    image_boxes: Mapping[str, Boxes]
    image_studies: Mapping[str, str]
    patients: Mapping[str, str] | None = None
    unscored_studies: frozenset[str] = field(default=frozenset(), repr=False)
    unscored_images: frozenset[str] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        if self.image_boxes.keys() != self.image_studies.keys():
            raise ValueError("expected a study for each image of image_boxes, got other images in image_studies")
        unlabelled = set(self.image_studies.values()) - self.study_labels.keys()
        if unlabelled:
            raise ValueError(f"expected a label for each study, got none for {min(unlabelled)}")
        if self.patients is not None and self.study_labels.keys() - self.patients.keys():
            raise ValueError(f"expected a patient for each study, got {len(self.patients)} of {len(self.study_labels)}")

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Units of the bootstrap: the patients, or the studies where patients are not known; in sorted order."""
        return tuple(sorted({self._find_group(study) for study in self.study_labels}))

    @cached_property
    def study_group(self) -> dict[str, int]:
        """Index in `groups` of each study."""
        indices = {group: index for index, group in enumerate(self.groups)}
        return {study: indices[self._find_group(study)] for study in self.study_labels}

    @cached_property
    def image_group(self) -> dict[str, int]:
        """Index in `groups` of each image."""
        return {image: self.study_group[study] for image, study in self.image_studies.items()}

    def _find_group(self, study: str) -> str:
        return study if self.patients is None else self.patients[study]


def read_ground_truth(path: str | Path, fold: int | Sequence[int] | None = None) -> GroundTruth:
    """The ground truth of a datalist.json, or of a folder with the challenge's tables (which do not know the patients).

    Of a datalist every image with a label counts, also those that are not trained on because they are copies; for
    opacity and none only those of `select_scored_boxes`.

    Args:
        path: file or folder.
        fold: only the images of this fold, or of these; a datalist only.

    Raises:
        InputError: where the file or a table is not there or not valid, or the fold is not in it.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_from_datalist(path, fold)
    if fold is not None:
        raise InputError("a datalist.json with --fold", f"the folder {path}", "leave --fold out, or give the datalist")
    tables = read_tables(path)
    return GroundTruth(
        study_labels=dict(tables.study_labels),
        image_boxes={image: as_boxes(row.boxes) for image, row in tables.images.items()},
        image_studies={image: row.study_id for image, row in tables.images.items()},
    )


def name_ground_truth(path: str | Path, fold: int | Sequence[int] | None = None) -> str:
    """Name the ground truth in a report: its file, and the folds."""
    folds = [fold] if isinstance(fold, int) else fold
    return Path(path).name if folds is None else f"{Path(path).name}, fold {', '.join(map(str, folds))}"


def _read_from_datalist(path: Path, fold: int | Sequence[int] | None) -> GroundTruth:
    folds = [fold] if isinstance(fold, int) else fold
    datalist = read_datalist(path)
    images = [*datalist["training"], *datalist["test"]]
    labelled = [image for image in images if image["label"] is not None]
    scored = [image for image in labelled if folds is None or image["fold"] in folds]
    if not scored:
        found = sorted({image["fold"] for image in labelled if image["fold"] is not None})
        expected = f"images of fold {fold}" if labelled else "images with a label"
        raise InputError(expected, f"folds {found} in {path.name}", "check --fold, or the datalist")
    return _gather_images(scored, images, path)


def _gather_images(scored: Sequence[Image], images: Sequence[Image], path: Path) -> GroundTruth:
    study_labels: dict[str, str] = {}
    patients: dict[str, str] = {}
    image_boxes: dict[str, Boxes] = {}
    for image in scored:
        study, label, patient = image["study_id"], STUDY_CLASSES[image["label"]], image["patient"]
        if study_labels.setdefault(study, label) != label or patients.setdefault(study, patient) != patient:
            found = f"several for {study} in {path.name}"
            raise InputError("one label and one patient for a study", found, "prepare it again")
        if image["image_id"] in image_boxes:
            raise InputError("each image once", f"{image['image_id']} twice in {path.name}", "prepare it again")
        image_boxes[image["image_id"]] = as_boxes(image["boxes"])
    image_studies = {image["image_id"]: image["study_id"] for image in select_scored_boxes(scored)}
    image_boxes = {name: image_boxes[name] for name in image_studies}
    return GroundTruth(
        study_labels,
        image_boxes,
        image_studies,
        patients,
        frozenset(image["study_id"] for image in images) - study_labels.keys(),
        frozenset(image["image_id"] for image in images) - image_boxes.keys(),
    )
