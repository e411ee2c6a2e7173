"""Sandbox of the release checks: a temporary folder, and fresh processes that are watched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.errors import InputError
from scripts.files import compute_sha256
from scripts.release.assembly import BUNDLE_NAME, Release

#: A zip that is to be unpacked may hold so much, and a command may take so long.
MAX_UNPACKED_BYTES = 500_000_000
MAX_SECONDS = 300

#: What a process takes from the machine; the rest of the environment would hide what a bundle lacks.
KEPT_VARIABLES = ("PATH", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")

Options = dict[str, object]


@dataclass(frozen=True)
class Workplace:
    """A temporary folder with the bundle where the model zoo has it, and with whatever the checks make.

    Args:
        folder: the temporary folder.
        root: the repository, for its tests in the zoo's manner; no process works there.
    """

    folder: Path
    root: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "models" / BUNDLE_NAME

    def out(self, name: str) -> Path:
        return self.folder / "out" / name

    def run_python(self, *arguments: str, cwd: Path | None = None, watched: bool = True) -> str:
        """Run Python in the packed folder and return its output.

        A watched process reaches no network and writes below `out` only; see guard/sitecustomize.py.

        Raises:
            InputError: where it fails, tries what it may not, or changes what is not below `out`.
        """
        return self.run_command([sys.executable, *arguments], cwd, watched)

    def run_command(self, command: Sequence[str], cwd: Path | None = None, watched: bool = True) -> str:
        """Run any command, in the packed folder or another one, as `run_python` does."""
        for name in ("out", "home", "temporary"):
            (self.folder / name).mkdir(exist_ok=True)
        before = self._hash_files() if watched else {}
        try:
            done = subprocess.run(
                list(command),
                cwd=cwd or self.bundle,
                env=self._choose_environment(watched),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=MAX_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InputError("an end", f"none after {MAX_SECONDS} s", "see what it waits for") from error
        reported = done.stdout + done.stderr
        (self.folder / "reported.txt").write_text(f"$ {' '.join(command)}\n{reported}", encoding="utf-8")
        if done.returncode != 0:
            last = reported.strip().rpartition("\n")[2][-300:]
            raise InputError("exit status 0", f"{done.returncode}: {last}", "run it in the packed folder")
        if watched:
            self._check_traces(before)
        return reported

    def run_bundle(self, run_id: str, config_file: str, options: Options, cwd: Path | None = None) -> str:
        """`python -m monai.bundle run`, watched."""
        named = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        return self.run_python("-m", "monai.bundle", "run", run_id, "--config_file", config_file, *named, cwd=cwd)

    def _choose_environment(self, watched: bool) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        home, temporary = str(self.folder / "home"), str(self.folder / "temporary")
        environment = {**kept, "HOME": home, "TMPDIR": temporary, "PYTHONDONTWRITEBYTECODE": "1"}
        # MONAI imports matplotlib where it is installed, and that makes a folder for its fonts
        environment["MPLCONFIGDIR"] = str(self.folder / "out" / "matplotlib")
        if watched:
            environment["PYTHONPATH"] = str(Path(__file__).with_name("guard"))
            environment["CHECK_FOLDERS"] = os.pathsep.join([str(self.folder / "out"), temporary])
            environment["CHECK_LOG"] = str(self.folder / "tried.txt")
        return environment

    def _check_traces(self, before: dict[str, str]) -> None:
        tried = self.folder / "tried.txt"
        if tried.is_file():
            first = tried.read_text(encoding="utf-8").splitlines()[0]
            raise InputError("no network, and files below the output folder only", first, "find out who did it")
        changed = {name for name, _ in set(before.items()) ^ set(self._hash_files().items())}
        if changed:
            name = sorted(changed)[0]
            raise InputError("files below the output folder only", f"{name} changed", "find out who did it")

    def _hash_files(self) -> dict[str, str]:
        """Hash the files that may not change: all but the outputs and the log of the last command."""
        spared = {self.folder / "out", self.folder / "reported.txt"}
        return {
            path.relative_to(self.folder).as_posix(): compute_sha256(path)
            for path in self.folder.rglob("*")
            if path.is_file() and not spared & {path, *path.parents}
        }


@contextmanager
def unpack_release(release: Release, root: str | Path) -> Iterator[Workplace]:
    """A `Workplace` with the zip unpacked; files that were too large for it come from the repository."""
    with tempfile.TemporaryDirectory(prefix="release-") as temporary:
        place = Workplace(Path(temporary).resolve(), Path(root).resolve())
        extract_archive(release.archive, place.bundle.parent)
        for name in release.large_files:
            shutil.copyfile(place.root / "bundle" / name, place.bundle / name)
        yield place


def extract_archive(archive: Path, folder: Path) -> None:
    """Unpack a zip that is what it should be.

    Raises:
        InputError: where a name leads elsewhere, something is no plain file, or the whole is too large.
    """
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            name = PurePosixPath(entry.filename)
            leads_out = name.is_absolute() or ".." in name.parts or name.parts[0] != BUNDLE_NAME or "\\" in str(name)
            if leads_out or entry.is_dir() or entry.external_attr >> 28 != 0o10:
                raise InputError(f"plain files below {BUNDLE_NAME}/", repr(entry.filename)[:80], "do not unpack it")
        if (size := sum(entry.file_size for entry in file.infolist())) > MAX_UNPACKED_BYTES:
            raise InputError(f"up to {MAX_UNPACKED_BYTES} bytes", str(size), "do not unpack it")
        file.extractall(folder)
