"""One prepared image as a file: tensors in safetensors, memory-mapped when it is read, and checked by a CRC.

Pictures in [0, 1] lie there in 16 bits and masks in one bit a pixel: of 256 px they take 139 kB together, and come back
within 8e-6.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scripts.files import replace_file

#: Steps from black to white of a picture that is kept on disk.
_LEVELS = 2**16 - 1
_OTHERS, _CHECKSUM = "others", "crc32"


def write_item(path: Path, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a prepared image as a whole, and give it as it will be read.

    Args:
        path: of the file; it is replaced in one step, but not synchronised: what a crash cuts is found by its checksum.
        item: tensors, and whatever else JSON can hold.

    Raises:
        TypeError: naming what the file cannot hold.
    """
    tensors, others = _pack(convert_to_tensor(dict(item), convert_numeric=False, track_meta=False))
    with replace_file(path, durable=False) as temporary:
        save_file(tensors, temporary, {_OTHERS: others, _CHECKSUM: str(_compute_checksum(tensors, others))})
    return _unpack(tensors, others)


def read_item(path: Path) -> Mapping[str, Any] | None:
    """Read what `write_item` wrote; None where the file is cut or damaged.

    Its pages are mapped, so all processes share them, and let go with the return: a cache may hold more images than a
    process may map files.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
    others = metadata.get(_OTHERS, "")
    if metadata.get(_CHECKSUM) != str(_compute_checksum(tensors, others)):
        return None
    return _unpack(tensors, others)


def _pack(item: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], str]:
    """Tensors of an item by name, and as JSON the rest and the shapes of masks whose pixels became bits."""
    tensors, rest, shapes = {}, {}, {}
    for name, value in item.items():
        if not isinstance(value, torch.Tensor):
            rest[name] = value
        elif not _is_picture(value):
            tensors[name] = value.clone(memory_format=torch.contiguous_format)
        elif bool(((value == 0) | (value == 1)).all()):
            tensors[name], shapes[name] = torch.from_numpy(np.packbits(value.numpy().astype(bool))), list(value.shape)
        else:
            tensors[name] = (value * _LEVELS).round().to(torch.uint16)
    return tensors, json.dumps({"rest": rest, "shapes": shapes})


def _unpack(tensors: Mapping[str, torch.Tensor], others: str) -> dict[str, Any]:
    content = json.loads(others)
    shapes = content["shapes"]
    unpacked = {name: _unpack_tensor(tensor, shapes.get(name)) for name, tensor in tensors.items()}
    return {**content["rest"], **unpacked}


def _is_picture(value: torch.Tensor) -> bool:
    if value.dtype != torch.float32 or value.ndim != 3 or not value.numel():
        return False
    return bool(value.min() >= 0 and value.max() <= 1)  # neither holds where one is not a number


def _unpack_tensor(tensor: torch.Tensor, shape: list[int] | None) -> torch.Tensor:
    if shape is not None:
        bits = np.unpackbits(tensor.numpy(), count=math.prod(shape)).reshape(shape)
        return torch.from_numpy(bits.astype(np.float32))
    return tensor.to(torch.float32) / _LEVELS if tensor.dtype == torch.uint16 else tensor.clone()


def _compute_checksum(tensors: Mapping[str, torch.Tensor], others: str) -> int:
    """CRC-32 of names, types, shapes and bytes of all tensors, and of the rest."""
    names = sorted(tensors)
    described = [(name, str(tensors[name].dtype), list(tensors[name].shape)) for name in names]
    checksum = zlib.crc32(json.dumps([others, described]).encode())
    for name in names:
        checksum = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, checksum)
    return checksum
