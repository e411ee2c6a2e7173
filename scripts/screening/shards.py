"""One shard's inference, by the shipped config, without masks and overlays; networks are loaded once for all shards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from scripts.datalist import FolderImages
from scripts.errors import InputError, find_input_error
from scripts.networks import use_runtime
from scripts.options import reject_unknown_names
from scripts.output_folders import release_folder
from scripts.outputs import hash_weights
from scripts.predictions import DONE_FILE
from scripts.screening.parts import is_done, write_part
from scripts.screening.plan import Shard

WORK = "work"
_NETWORKS = ("network", "lung_detector", "opacity_detector")


class ShardScreener:
    """Infers on shards, one after the other, in one process.

    Args:
        config: inference.json, or one like it; metadata.json stands beside it.
        tree: the archive.
        out: folder of the screening, which all machines share.
        table_format: "csv" or "parquet".
        options: of the config.

    Raises:
        InputError: where the config is absent, or its weights are not right.
    """

    def __init__(
        self, config: str | Path, tree: str | Path, out: str | Path, table_format: str, options: Mapping[str, Any]
    ) -> None:
        self.config, self.tree, self.out, self.table_format = Path(config), Path(tree), Path(out), table_format
        quiet = {
            "overlays": 0,
            "study_pages": False,
            "dicom_results": False,
            "handlers::0::masks": False,
            "dataloader::progress": "",
        }
        self.options = {**options, **quiet}
        self._networks: dict[str, Any] = {}

    def identify(self) -> dict[str, Any]:
        """Everything that must be the same in all shards, as JSON; no network is built."""
        parser = self._read({"images": []})
        journal = _build(parser, "journal")
        return {
            "version": journal.version,
            "weights": hash_weights(journal.weights),
            "options": {name: str(value) for name, value in sorted(journal.options.items())},
            "format": self.table_format,
        }

    def screen(self, shard: Shard) -> None:
        """Infer on a shard, or go on where a kill cut it short, and write its part; nothing where that is there.

        Raises:
            InputError: where another process works on it, or a prediction is not finite.
        """
        if is_done(self.out, shard):
            return
        folder = self.out / WORK / f"{shard.number:06d}"
        if not (folder / DONE_FILE).is_file():
            self._infer(shard, folder)
        write_part(shard, folder, self.tree, self.out, self.table_format)
        release_folder(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def _infer(self, shard: Shard, folder: Path) -> None:
        images = FolderImages(self.tree, [self.tree / file for file in shard.files])
        parser = self._read({**self._load(), "images": images, "output_dir": str(folder)})
        _build(parser, "journal").claim()
        _build(parser, "evaluator").run()

    def _load(self) -> dict[str, Any]:
        """The networks, loaded at the first shard."""
        if not self._networks:
            parser = self._read({})
            self._networks = {name: _build(parser, name) for name in _NETWORKS}
            use_runtime(list(self._networks.values()), _build(parser, "runtime"), _build(parser, "precision"))
        return self._networks

    def _read(self, changes: Mapping[str, Any]) -> ConfigParser:
        meta = self.config.with_name("metadata.json")
        for file, what in ((self.config, "a config for inference"), (meta, "the config's metadata beside it")):
            if not file.is_file():
                raise InputError(what, f"no file {file}", "check the path")
        parser = ConfigParser()
        parser.read_config(self.config)
        parser.read_meta(meta)
        known: Any = parser.config
        reject_unknown_names(self.options, known)
        parser.update({**self.options, **changes})
        return parser


def _build(parser: ConfigParser, name: str) -> Any:
    try:
        return parser.get_parsed_content(name)
    except RuntimeError as error:  # MONAI's word for whatever a component raises
        if (bad_input := find_input_error(error)) is None:
            raise
        raise bad_input from None
