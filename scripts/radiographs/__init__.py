"""The only image reader: one DICOM radiograph -> `(1, H, W)` float32 in [0, 1] and metadata that identify nobody.

`read_radiograph` reads in the calling process, `read_isolated` and `read_radiographs` in child processes with memory
and time limits. Importing this package loads numpy and pydicom only: the children that decode untrusted images start
from it. `scripts.transforms.LoadRadiographd` stands at the head of every transform chain.
"""

from scripts.radiographs.codestreams import list_undecodable
from scripts.radiographs.digests import PIXELS_SHA256, hash_pixels
from scripts.radiographs.grayscale import Display, LookupTable, Window
from scripts.radiographs.identity import hash_words, name_image, name_study, number_id
from scripts.radiographs.image_metadata import FLAGS, ImageMetadata, Radiograph
from scripts.radiographs.reading import READER_OPTIONS, read_image_display, read_image_metadata, read_radiograph
from scripts.radiographs.workers import IsolatedReader, read_isolated, read_radiographs

__all__ = [
    "FLAGS",
    "PIXELS_SHA256",
    "READER_OPTIONS",
    "Display",
    "IsolatedReader",
    "LookupTable",
    "Radiograph",
    "ImageMetadata",
    "Window",
    "hash_pixels",
    "hash_words",
    "list_undecodable",
    "name_image",
    "name_study",
    "number_id",
    "read_image_display",
    "read_image_metadata",
    "read_isolated",
    "read_radiograph",
    "read_radiographs",
]
