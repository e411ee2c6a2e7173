"""`LoadRadiographd`: the reader as the first transform of a chain."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scripts.errors import InputError, RejectedImage
from scripts.radiographs import PIXELS_SHA256, READER_OPTIONS, Radiograph, hash_pixels, read_isolated, read_radiograph

IMAGE_FLAGS, SOP_INSTANCE_UID = "image_flags", "sop_instance_uid"
#: What an image from outside says of its identity; the patient is a hash.
_IDENTITY = (SOP_INSTANCE_UID, "study_instance_uid", "series_instance_uid", "patient")


class LoadRadiographd(MapTransform):
    """Replace paths by images: `(1, H, W)` float32 MetaTensors in [0, 1], affine identity.

    Their meta holds `filename_or_obj` (the path as given), the UIDs of image, study and series, `patient` (a hash),
    `pixel_aspect_ratio` (height of a pixel over its width) and `image_flags` (keys of `scripts.radiographs.FLAGS`,
    separated by blanks). The flags stand under `image_flags` of the dictionary too, where they outlive an image that
    becomes a plain tensor; so does the identity of an image from outside.

    Args:
        keys: keys that hold a path; a folder that holds exactly one file stands for that file (MONAI Label hands it
            over so).
        allow_missing_keys: whether a key may be absent.
        isolated: decode in a child process with memory and time limits; for images from outside. Without it images are
            decoded in this process: for a datalist whose images were all read by preparation.
        accept_secondary_capture, accept_renderings: as for `read_radiograph`. An image whose dictionary holds one of
            these keys, from a datalist that was prepared so, is read with it in any case.

    Raises:
        RejectedImage: where an image cannot be read.
        InputError: where the dictionary holds a digest of the pixels (`pixels_sha256`, from a datalist), and they are
            others: the image was exchanged since.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        allow_missing_keys: bool = False,
        isolated: bool = False,
        accept_secondary_capture: bool = False,
        accept_renderings: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.isolated = isolated
        self.options = dict(zip(READER_OPTIONS, (accept_secondary_capture, accept_renderings), strict=True))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The same dictionary with the images in place of their paths."""
        loaded = dict(data)
        options = {name: accepted or bool(data.get(name)) for name, accepted in self.options.items()}
        for key in self.key_iterator(loaded):
            loaded[key] = self._load_image(loaded[key], loaded.get(PIXELS_SHA256), options)
            loaded[IMAGE_FLAGS] = loaded[key].meta[IMAGE_FLAGS]
            if self.isolated:
                loaded |= {name: loaded[key].meta[name] for name in _IDENTITY}
        return loaded

    def _load_image(self, path: str | Path, digest: str | None, options: Mapping[str, Any]) -> MetaTensor:
        read = read_isolated if self.isolated else read_radiograph
        radiograph = read(find_image(path), **options)
        if digest is not None and hash_pixels(radiograph.pixels) != digest:
            advice = "put that image back, or prepare the tree again"
            raise InputError("the image that was prepared", f"other pixels at {path}", advice)
        return MetaTensor(torch.from_numpy(radiograph.pixels), affine=torch.eye(4), meta=_build_meta(path, radiograph))


def find_image(path: str | Path) -> Path:
    """The path itself, or the only file of a folder.

    Raises:
        RejectedImage: where a folder holds another number of files.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    if not os.access(path, os.R_OK | os.X_OK):
        raise RejectedImage("unreadable", path, "a folder that may not be read")
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    if len(files) != 1:
        raise RejectedImage("unreadable", path, f"a folder with {len(files)} files, one image is expected")
    return files[0]


def _build_meta(path: str | Path, radiograph: Radiograph) -> dict[str, Any]:
    metadata = radiograph.metadata
    return {
        "filename_or_obj": str(path),
        "original_channel_dim": 0,
        **{name: getattr(metadata, name) for name in _IDENTITY},
        "pixel_aspect_ratio": metadata.pixel_aspect_ratio,
        IMAGE_FLAGS: " ".join(metadata.flags),
    }
