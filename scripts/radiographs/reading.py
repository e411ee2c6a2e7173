"""Reading of one file to a `Radiograph`, check after check."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from scripts.errors import RejectedImage
from scripts.radiographs.decoding import decode_stored_values
from scripts.radiographs.display import read_display
from scripts.radiographs.gates import check_object, check_picture, check_pixel_data, check_scope
from scripts.radiographs.grayscale import Display, render_brightness
from scripts.radiographs.header import Header
from scripts.radiographs.image_metadata import ImageMetadata, Radiograph, collect_metadata
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import check_size, open_image_bytes

T = TypeVar("T")

#: Options of `read_radiograph` that accept more images; an image of a datalist holds those that it was prepared with.
READER_OPTIONS = ("accept_secondary_capture", "accept_renderings")


def read_radiograph(
    path: str | Path,
    *,
    accept_secondary_capture: bool = False,
    accept_renderings: bool = False,
    before_decoding: Callable[[int], None] | None = None,
) -> Radiograph:
    """Read one image in this process.

    Structure and header are checked before a decoder runs. A decoder is C code all the same, and may crash or hang on a
    file made for it: read images from outside with `read_radiographs`, or with `LoadRadiographd(isolated=True)`.

    Args:
        path: a DICOM file.
        accept_secondary_capture: also read images stored as Secondary Capture.
        accept_renderings: also read PNG and JPEG pictures of images; their metadata say `rendering`.
        before_decoding: called with the number of pixels when all checks are passed: a child process bounds its
            computing by it.

    Raises:
        RejectedImage: where the file is not an image that can be read, with its reason code.
    """
    read = partial(_read_picture, accept_secondary_capture, accept_renderings, before_decoding)
    return _run_gates(path, read)


def read_image_display(path: str | Path, *, accept_secondary_capture: bool = False) -> Display:
    """Read a DICOM image's display attributes, for objects that have to show it alike; no decoder runs.

    Raises:
        RejectedImage: as `read_radiograph`.
    """
    return _run_gates(path, partial(_read_display, accept_secondary_capture))


def read_image_metadata(
    path: str | Path, *, accept_secondary_capture: bool = False, accept_renderings: bool = False
) -> ImageMetadata:
    """Read a DICOM image's metadata, and of a PNG or JPEG only that it is a rendering; no decoder runs.

    Raises:
        RejectedImage: as `read_radiograph`, but for what only its pixels or its scope would be rejected for.
    """
    return _run_gates(path, partial(_read_metadata, accept_secondary_capture, accept_renderings))


def _run_gates(path: str | Path, read: Callable[[bytes], T]) -> T:
    try:
        return read(_read_file(path))
    except Rejection as rejection:
        rejected = RejectedImage(rejection.reason, path, rejection.detail)
    except MemoryError:
        rejected = RejectedImage("decode_error", path, "not enough memory")
    raise rejected  # outside of the handler: no chain of causes that could quote the file


def _read_picture(
    accept_secondary_capture: bool, accept_renderings: bool, before_decoding: Callable[[int], None] | None, file: bytes
) -> Radiograph:
    if accept_renderings:
        from scripts.radiographs.renderings import is_rendering, read_rendering

        if is_rendering(file):
            return read_rendering(file)
    return _read_dicom(file, accept_secondary_capture, before_decoding)


def _read_display(accept_secondary_capture: bool, file: bytes) -> Display:
    image = open_image_bytes(file)
    header = Header.of_image(image)
    check_object(header, image, accept_secondary_capture)
    return read_display(header, check_picture(header, image))[0]


def _read_metadata(accept_secondary_capture: bool, accept_renderings: bool, file: bytes) -> ImageMetadata:
    if accept_renderings:
        from scripts.radiographs.renderings import is_rendering

        if is_rendering(file):
            return ImageMetadata(rendering=True)
    image = open_image_bytes(file)
    header = Header.of_image(image)
    check_object(header, image, accept_secondary_capture)
    check_picture(header, image)
    return collect_metadata(header, image.transfer_syntax)


def _read_file(path: str | Path) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Rejection("unreadable", "not a regular file")
        check_size(status.st_size)
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise Rejection("unreadable", type(error).__name__) from None


def _read_dicom(
    file: bytes, accept_secondary_capture: bool, before_decoding: Callable[[int], None] | None
) -> Radiograph:
    image = open_image_bytes(file)
    header = Header.of_image(image)
    check_object(header, image, accept_secondary_capture)
    picture = check_picture(header, image)
    check_pixel_data(image, picture)
    metadata = collect_metadata(header, image.transfer_syntax)
    check_scope(header, metadata)
    display, display_flags = read_display(header, picture)
    if before_decoding is not None:
        before_decoding(picture.rows * picture.columns)
    stored, value_flags = decode_stored_values(image, picture)
    brightness, brightness_flags = render_brightness(stored, display)
    flags = tuple(sorted({*metadata.flags, *display_flags, *value_flags, *brightness_flags}))
    return Radiograph(brightness[np.newaxis], replace(metadata, flags=flags))
