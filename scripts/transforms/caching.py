"""Prepared images: kept on disk by content and repaired, skipped by number where allowed, changed by seed and epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.data import CacheDataset, PersistentDataset
from monai.data.utils import pickle_hashing
from scripts.errors import InputError, RejectedImage, reveal_input_errors
from scripts.processes import derive_seed
from scripts.radiographs import PIXELS_SHA256
from scripts.transforms.cache_files import read_item, write_item


class PreparedDataset(PersistentDataset):
    """MONAI's `PersistentDataset` whose cache follows the images, and mends itself.

    An entry of the cache is found by the item and by its image's content: the digest that the datalist holds, else
    size and time of the file. It is a file of its own (`cache_files`), which folds, seeds, workers and processes share;
    one that is cut or damaged is made anew.

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
        if self.cache_dir is None:
            return super()._cachecheck(item_transformed)
        name = self.hash_func(item_transformed).decode("utf-8") + self.transform_hash
        path = self.cache_dir / f"{name}.safetensors"
        if path.is_file():
            if (item := read_item(path)) is not None:
                return item
            logging.getLogger(__name__).warning("%s was damaged: its image is prepared again", path.name)
        return write_item(path, self._pre_transform(deepcopy(item_transformed)))


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


def _name_image(error: InputError, item: Any) -> InputError:
    """The error with the image's id, which its message may lack."""
    name = str(item.get("image_id", "")) if isinstance(item, Mapping) else ""
    prefix = f"{name}: " if name not in str(error) else ""
    if isinstance(error, RejectedImage):
        advice = "leave it out of the datalist, or allow some with --max_skipped"
        return InputError("images that can be prepared", f"{prefix}{error}", advice)
    return InputError(error.expected, f"{prefix}{error.found}", error.advice)
