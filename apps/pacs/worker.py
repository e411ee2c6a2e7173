"""Worker process: the bundle's inference.json, built once, over the images of one study after another.

The reason for a process of its own: networks and decoders are the part that may crash or grow, and the queue lives on.
"""

from __future__ import annotations

import gc
import logging
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

#: What stays from study to study: networks, and the processes that decode.
_KEPT = ("network", "inferer", "preprocessing", "postprocessing")


class BundleRunner:
    """The bundle, its networks loaded; everything else of inference.json is built anew for each study.

    Args:
        bundle: its folder.
        folder: of this process alone, for links to the images and for the outputs.
        options: top-level names of inference.json and their values.
    """

    def __init__(self, bundle: Path, folder: Path, options: dict[str, Any]) -> None:
        self.bundle, self.images, self.output = bundle, folder / "images", folder / "output"
        self.options = {
            "bundle_root": str(bundle),
            "dataset_dir": str(self.images),
            "output_dir": str(self.output),
            "dicom_results": True,
            "overlays": 0,
            "replace": True,
            "dataloader#progress": "",
            **options,
        }
        parser = self._parse()
        self.kept = {name: parser.get_parsed_content(name) for name in _KEPT}
        gc.collect()
        gc.freeze()  # what was loaded stays: later collections need not walk through it

    def run(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Run over the images of a study; its outputs lie in `output` then.

        Returns:
            done.json of the run.

        Raises:
            InputError: as the bundle raises it; not where all images were rejected.
        """
        from scripts.errors import InputError, reveal_input_errors
        from scripts.predictions import DONE_FILE, read_done

        shutil.rmtree(self.images, ignore_errors=True)
        self.images.mkdir(parents=True)
        for path in paths:
            (self.images / path.name).symlink_to(path.resolve())
        parser = self._parse()
        parser.update(self.kept)
        try:
            with reveal_input_errors():
                parser.get_parsed_content("run")
        except InputError:
            if not (self.output / DONE_FILE).is_file():
                raise
        finally:
            del parser
            gc.collect()
        return read_done(self.output)

    def _parse(self) -> Any:
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config(str(self.bundle / "configs" / "inference.json"))
        parser.read_meta(str(self.bundle / "configs" / "metadata.json"))
        parser.update(self.options)
        return parser


def serve_studies(connection: Connection, bundle: Path, folder: Path, options: dict[str, Any]) -> None:
    """Run the bundle for whoever holds the other end of the connection, until it is closed.

    A message is a list of paths; the reply is done.json of the run, or `{"error": one line}`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service: it closes the connection
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    runner = BundleRunner(bundle, folder, options)
    with suppress(EOFError, OSError):  # the service is gone
        connection.send({"ready": True})
        while True:
            connection.send(_run(runner, connection.recv()))


def _run(runner: BundleRunner, paths: Sequence[Path]) -> dict[str, Any]:
    from scripts.errors import explain_error

    try:
        return runner.run(paths)
    except Exception as error:
        found = explain_error(error)
        return {"error": str(found) if found else type(error).__name__}
