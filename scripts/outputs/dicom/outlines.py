"""Boxes as lines in the image's pixel matrix, for reports and presentation states alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scripts.boxes import clip_boxes
from scripts.predictions import ImageFindings

#: `(5, 2)`: column and row of each corner, the first one again at the end.
Outline = NDArray[np.float64]


def outline_boxes(image: ImageFindings, rows: int, columns: int) -> list[Outline]:
    """Each box as a closed line, clipped to the image, best first.

    Column and row are measured in pixels from the outer corner of the first pixel, which is 0, 0, to that of the last,
    which is columns, rows: so are spatial coordinates (PS3.3 C.18.6.1.1), graphic annotations in units PIXEL (C.10.5)
    and the project's boxes, and none is shifted by half a pixel.
    """
    return [_trace_box(box) for box in clip_boxes(image.boxes, rows, columns)]


def _trace_box(box: NDArray[np.float64]) -> Outline:
    xmin, ymin, xmax, ymax = box
    return np.array([[xmin, ymin], [xmax, ymin], [xmax, ymax], [xmin, ymax], [xmin, ymin]])
