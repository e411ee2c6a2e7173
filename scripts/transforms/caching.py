"""Prepared images: kept on disk by content and repaired, skipped by number where allowed, changed by seed and epoch."""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.data.utils import pickle_hashing
from scripts.errors import InputError, RejectedImage, reveal_input_errors
from scripts.processes import derive_seed
from scripts.radiographs import PIXELS_SHA256

#: Steps from black to white of a picture that is kept on disk.
_LEVELS = 2**16 - 1


class PreparedDataset(PersistentDataset):
    """MONAI's `PersistentDataset` whose cache follows the images, and mends itself.

    An entry of the cache is found by the item and by its image's content: the digest that the datalist holds, else
    size and time of the file. An entry that is cut or damaged is made anew: a file of torch holds checksums, which
    torch itself does not look at. Pictures in [0, 1] lie there in 16 bits and masks in one bit a pixel: of 256 px they
    take 142 kB together, and come back within 8e-6.

    Args:
        data, transform, cache_dir, options: as for `PersistentDataset`.
        max_skipped: so many images that cannot be prepared may be left out of a training: another one takes the place,
            and each is named in the log. By default the first one ends the run.

    Raises:
        InputError: while it is read, naming the image that cannot be prepared.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Sequence[Callable[..., Any]] | Callable[..., Any],
        cache_dir: str | Path | None,
        max_skipped: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(data, transform, cache_dir, **{"hash_func": hash_item, **options})
        self.max_skipped = max_skipped
        # shared, so that workers of a data loader count together
        self._skipped = torch.zeros(len(data) if max_skipped else 0, dtype=torch.bool).share_memory_()

    def _transform(self, index: int) -> Any:
        tried = index
        for _ in range(self.max_skipped + 1):
            try:
                with reveal_input_errors():
                    return super()._transform(tried)
            except InputError as error:
                if not self.max_skipped:
                    raise _name_image(error, self.data[tried]) from None
                self._skip(tried, error)
                tried = (tried + 1) % len(self.data)
        raise InputError("an image that can be prepared", f"{self.max_skipped + 1} in a row without", "check the tree")

    def _skip(self, index: int, error: InputError) -> None:
        if self._skipped[index]:
            return
        self._skipped[index] = True
        count, message = int(self._skipped.sum()), _name_image(error, self.data[index])
        if count > self.max_skipped:
            found = f"{count}, the last: {message}"
            raise InputError(
                f"at most {self.max_skipped} images to skip", found, "check the tree, or raise max_skipped"
            )
        logging.getLogger(__name__).warning("skipped image %d of at most %d: %s", count, self.max_skipped, message)

    def _cachecheck(self, item_transformed: Any) -> Any:
        if self.cache_dir is not None:
            name = self.hash_func(item_transformed).decode("utf-8") + self.transform_hash
            _remove_damaged(self.cache_dir / f"{name}.pt")
        return unpack_item(super()._cachecheck(item_transformed))

    def _pre_transform(self, item_transformed: Any) -> Any:
        prepared = super()._pre_transform(item_transformed)
        return prepared if self.cache_dir is None else pack_item(prepared)


class SeededCacheDataset(CacheDataset):
    """MONAI's `CacheDataset` whose random transforms follow from seed, epoch and index of the image alone.

    So an image is changed in the same way whatever worker takes it, and whether a training was resumed before it.

    Args:
        data, transform, options: as for `CacheDataset`.
        seed: of the training.
    """

    def __init__(self, data: Sequence[Any], transform: Any = None, seed: int = 0, **options: Any) -> None:
        super().__init__(data, transform, **options)
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that live on see the next epoch

    def set_epoch(self, epoch: int) -> None:
        """Tell it, and its workers, the epoch that begins."""
        self._epoch.fill_(epoch)

    def _transform(self, index: int) -> Any:
        if hasattr(self.transform, "set_random_state"):
            self.transform.set_random_state(seed=derive_seed(self.seed, int(self._epoch), index))
        with reveal_input_errors():
            return super()._transform(index)


def hash_item(item: Any) -> bytes:
    """A name for a prepared item: of all that is known of it, and of its image's content."""
    if not isinstance(item, Mapping) or PIXELS_SHA256 in item or not isinstance(item.get("image"), str | Path):
        return pickle_hashing(item)
    path = Path(item["image"])
    stat = path.stat() if path.is_file() else None
    return pickle_hashing({**item, "file": stat and (stat.st_size, stat.st_mtime_ns)})


def pack_item(item: Any) -> Any:
    """An item with each float32 picture in [0, 1] as whole numbers of 16 bits, or of one bit where all are 0 or 1."""
    return {name: _pack_picture(value) for name, value in item.items()} if isinstance(item, Mapping) else item


def unpack_item(item: Any) -> Any:
    """Undo `pack_item`; pictures of 16 bits come back rounded."""
    if not isinstance(item, Mapping):
        return item
    return {name: _unpack_picture(value) for name, value in item.items()}


def _pack_picture(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.ndim != 3 or not value.numel():
        return value
    if bool(((value == 0) | (value == 1)).all()):
        return {"bits": torch.from_numpy(np.packbits(value.numpy().astype(bool))), "shape": list(value.shape)}
    if not (value.min() >= 0 and value.max() <= 1):  # also where one is not a number
        return value
    return (value * _LEVELS).round().to(torch.uint16)


def _unpack_picture(value: Any) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"bits", "shape"}:
        shape = [int(side) for side in value["shape"]]
        bits = np.unpackbits(value["bits"].numpy(), count=math.prod(shape)).reshape(shape)
        return torch.from_numpy(bits.astype(np.float32))
    if isinstance(value, torch.Tensor) and value.dtype == torch.uint16:
        return value.to(torch.float32) / _LEVELS
    return value


def _remove_damaged(path: Path) -> None:
    if not path.is_file():
        return
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError):
        whole = False
    if not whole:
        logging.getLogger(__name__).warning("%s was damaged: its image is prepared again", path.name)
        path.unlink(missing_ok=True)


def _name_image(error: InputError, item: Any) -> InputError:
    """The error with the image's id, which its message may lack."""
    name = str(item.get("image_id", "")) if isinstance(item, Mapping) else ""
    prefix = f"{name}: " if name not in str(error) else ""
    if isinstance(error, RejectedImage):
        advice = "leave it out of the datalist, or allow some with --max_skipped"
        return InputError("images that can be prepared", f"{prefix}{error}", advice)
    return InputError(error.expected, f"{prefix}{error.found}", error.advice)
