"""The only image reader: one DICOM radiograph -> `(1, H, W)` float32 in [0, 1] and metadata that identify nobody.

`read_radiograph` reads in the calling process, `read_isolated` and `read_radiographs` in child processes with memory
and time limits, `LoadRadiographd` stands at the head of every transform chain. Importing this package loads numpy and
pydicom only: the children that decode untrusted images start from it, so MONAI and torch come in when `LoadRadiographd`
is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scripts.radiographs.grayscale import Display, LookupTable, Window
from scripts.radiographs.image_metadata import FLAGS, ImageMetadata, Radiograph
from scripts.radiographs.reading import read_image_display, read_image_metadata, read_radiograph
from scripts.radiographs.workers import IsolatedReader, read_isolated, read_radiographs

if TYPE_CHECKING:
    from scripts.radiographs.loading import LoadRadiographd

__all__ = [
    "FLAGS",
    "Display",
    "IsolatedReader",
    "LoadRadiographd",
    "LookupTable",
    "Radiograph",
    "ImageMetadata",
    "Window",
    "read_image_display",
    "read_image_metadata",
    "read_isolated",
    "read_radiograph",
    "read_radiographs",
]


def __getattr__(name: str) -> Any:
    if name == "LoadRadiographd":
        from scripts.radiographs.loading import LoadRadiographd

        return LoadRadiographd
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
