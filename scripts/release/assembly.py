"""Assembly of a release: the repository's parts -> a packed folder that stands on its own, and a zip of it."""

from __future__ import annotations

import ast
import json
import re
import shutil
import stat
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from monai.bundle import ConfigParser
from scripts.errors import InputError
from scripts.files import compute_sha256, replace_file, write_text
from scripts.pages import TEMPLATE_SUFFIXES
from scripts.release.closure import MAX_LINE, ImportGraph, find_names, find_quoted_names, prune_exports
from scripts.release.samples import SAMPLES, write_samples

#: The folder's name. MONAI Label takes a task from it: no "detection" or "classification" in it.
BUNDLE_NAME = "chest_xray_covid19"

#: What goes in: place in the repository -> place in the bundle, with the suffixes that are taken there.
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "bundle/configs": ("configs", (".json", ".conf")),
    "bundle/models": ("models", (".pt", ".sha256", ".json")),
    "bundle/docs": ("docs", (".md", ".txt", ".png", ".svg", ".csv")),
    "LICENSE": ("LICENSE", ("",)),
    "scripts/tables/mappings": ("scripts/tables/mappings", (".json",)),
}

#: What stays in the repository: experiments, the configs that only their runs use, and their report.
RESEARCH = {
    "configs/experiments", "configs/recipes", "configs/cache.json", "configs/explain.json", "configs/predict.json",
    "configs/predict_unlabelled.json", "configs/stacked.json", "docs/experiments.csv", "docs/experiments.md",
    "docs/own_data.md", "docs/researcher.md",
}  # fmt: skip

#: The code is what these need: all verbs of the packed command line, the integrations that run a packed bundle, and
#: whatever packed configs and the model card name.
COMMAND_LINE, RESEARCH_VERBS = "scripts.__main__", "scripts.research"
INTEGRATIONS = ("apps/deploy/app.py", "apps/deploy/operators.py", "apps/label/main.py", "apps/label/review.py")
MODEL_CARD = "docs/README.md"

#: The largest `scripts/` that is packed: a new import that drags much in is found out.
MAX_CODE_LINES = 16_500

#: Overrides that are packed as whole configs, and what they lie over: whoever unpacks a bundle opens one file.
MERGED: dict[str, tuple[str, ...]] = {
    "train_detector.json": ("train.json",),
    "lungs.json": ("train.json", "train_detector.json"),
}

#: The model zoo keeps no larger file in its repository; large_files.yml says where such a one lies.
MAX_BYTES = 25_000_000
LARGE_FILES = "large_files.yml"

#: In the repository one works from its root, in a packed bundle from the bundle's own folder.
SOURCE_ROOT, PACKED_ROOT = '"bundle_root": "bundle"', '"bundle_root": "."'

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can report


@dataclass(frozen=True)
class Release:
    """Result of `assemble_release`: the version, the packed folder, the zip, and the files too large for both."""

    version: str
    folder: Path
    archive: Path
    large_files: tuple[str, ...] = ()


def assemble_release(root: str | Path = ".", out: str | Path = "dist", large_files_url: str | None = None) -> Release:
    """Pack the bundle of a repository into `<out>/chest_xray_covid19/` and `<out>/chest_xray_covid19_v<version>.zip`.

    The zip is the same whenever it is made of the same files: sorted, one time for all, stored and not compressed,
    because compressed bytes depend on the machine's zlib and weights hardly shrink.

    Args:
        root: the repository.
        out: folder; what it holds of an earlier release is replaced.
        large_files_url: where files above `MAX_BYTES` will lie, a URL that their names are added to. They are left out
            and listed in large_files.yml.

    Raises:
        InputError: where versions differ, weights are not those of their hash, a part is missing, or something stands
            there that no bundle may hold: a link, or a large file without a URL.
    """
    root, out = Path(root), Path(out)
    version = read_version(root)
    files = dict(list_files(root))
    check_weights(root, files)
    code = dict(list_code(root, files))
    large = tuple(sorted(name for name, source in files.items() if source.stat().st_size > MAX_BYTES))
    if large and large_files_url is None:
        raise InputError(
            f"files of up to {MAX_BYTES // 10**6} MB", large[0], "say --large_files_url, where it will lie"
        )
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as temporary:
        packed = Path(temporary) / BUNDLE_NAME
        for name, source in sorted(files.items()):
            if name not in large:
                _pack_file(name, source, packed / name)
        for page in packed.glob("docs/**/*.md"):
            page.write_text(
                _unlink_what_stays(page.read_text(encoding="utf-8"), page.parent), encoding="utf-8", newline=""
            )
        for name, text in code.items():
            write_text(packed / name, text)
        write_samples(packed / SAMPLES)
        for path in packed.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if large:
            write_text(packed / LARGE_FILES, _list_large_files({name: files[name] for name in large}, large_files_url))
        archive = out / f"{BUNDLE_NAME}_v{version}.zip"
        write_archive(packed, archive)
        shutil.rmtree(out / BUNDLE_NAME, ignore_errors=True)
        packed.replace(out / BUNDLE_NAME)
    return Release(version, out / BUNDLE_NAME, archive, large)


def read_version(root: Path) -> str:
    """The version of the bundle, which four places have to agree on.

    Raises:
        InputError: where they do not, or one is missing.
    """
    try:
        metadata = json.loads((root / "bundle/configs/metadata.json").read_text(encoding="utf-8"))
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        headings = re.findall(r"^## (\S+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    except FileNotFoundError as error:
        advice = "release from the root of the repository"
        raise InputError("the repository's versions", f"no file {error.filename}", advice) from error
    versions = {
        "metadata.json": metadata["version"],
        "its changelog": next(iter(metadata["changelog"]), "none"),
        "pyproject.toml": project["project"]["version"],
        "CHANGELOG.md": headings[0] if headings else "none",
    }
    if len(set(versions.values())) > 1:
        found = ", ".join(f"{version} in {place}" for place, version in versions.items())
        raise InputError("one version", found, "write the new one into all four")
    return str(metadata["version"])


def list_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Names in the bundle and the files that go there.

    Raises:
        InputError: where a part is missing, or is or holds a link.
    """
    for place, (target, suffixes) in PARTS.items():
        source = root / place
        if not source.exists():
            raise InputError("a whole repository", f"no {place}", "release from the root of the repository")
        for path in [source] if source.is_file() else sorted(source.rglob("*")):
            inside = path.relative_to(source)
            name = PurePosixPath(target) / inside.as_posix()
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if hidden or RESEARCH & {str(each) for each in (name, *name.parents)}:
                continue
            if path.is_symlink():
                raise InputError("files, no links", f"a link at {place}/{inside.as_posix()}", "put the file there")
            if path.is_file() and path.suffix in suffixes:
                yield str(name), path


def list_code(root: Path, files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Names and texts of the modules that a release needs, packages without the exports of those that it does not.

    Templates travel with the modules that they stand beside.

    Raises:
        InputError: where a config, the model card or an integration names a module that is not there, or it all
            is more than `MAX_CODE_LINES`.
    """
    graph = ImportGraph(root)
    named = {COMMAND_LINE}
    for name, path in files.items():
        if name == MODEL_CARD or (name.startswith("configs/") and path.suffix == ".json"):
            named |= find_quoted_names(path.read_text(encoding="utf-8"))
    for path in (root / place for place in INTEGRATIONS):
        named |= set(find_names(ast.parse(path.read_text(encoding="utf-8")))) if path.is_file() else set()
    packed = graph.find_closure(named, without={RESEARCH_VERBS})
    texts = {graph.paths[module]: graph.paths[module].read_text(encoding="utf-8") for module in sorted(packed)}
    pruned = {path: prune_exports(text, packed) for path, text in texts.items()}
    if (lines := sum(text.count("\n") for text in pruned.values())) > MAX_CODE_LINES:
        advice = "see what a new import drags in, or raise MAX_CODE_LINES"
        raise InputError(f"up to {MAX_CODE_LINES} lines of packed code", str(lines), advice)
    yield from ((path.relative_to(root).as_posix(), text) for path, text in pruned.items())
    beside = (file for folder in sorted({path.parent for path in pruned}) for file in sorted(folder.iterdir()))
    for file in beside:
        if file.suffix in TEMPLATE_SUFFIXES:
            yield file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")


def check_weights(root: Path, files: dict[str, Path]) -> None:
    """Raise an `InputError` where weights have no SHA-256 beside them or another one, or inference asks for others."""
    weights = {name: path for name, path in files.items() if path.suffix == ".pt"}
    for name, path in weights.items():
        hash_file = path.with_name(f"{path.name}.sha256")
        reported = hash_file.read_text(encoding="utf-8").split()[:1] if hash_file.is_file() else []
        if reported != [compute_sha256(path)]:
            found = "none" if not reported else f"{reported[0][:12]}..., which is another file's"
            raise InputError(
                f"the SHA-256 of {name} beside it", found, "write it with python -m scripts export-weights"
            )
    config = (root / "bundle/configs/inference.json").read_text(encoding="utf-8")
    missing = sorted(set(re.findall(r"/(models/[\w.-]+\.pt)", config)) - set(weights))
    if missing:
        raise InputError("the weights that inference.json names", f"no {missing[0]}", "train and ship them first")


def pack_config(text: str, name: str) -> str:
    """A config with the packed bundle's root, and otherwise as it was.

    Raises:
        InputError: where that is more, or less, than one value.
    """
    before = json.loads(text)
    if "bundle_root" not in before:
        return text
    packed = text.replace(SOURCE_ROOT, PACKED_ROOT)
    if json.loads(packed) != {**before, "bundle_root": "."}:
        raise InputError(f"{SOURCE_ROOT} once", f"something else in {name}", "write it so")
    return packed


def merge_configs(paths: Sequence[Path]) -> str:
    """The last config as a whole one: laid over the others as MONAI does, without what only replaced parts used."""
    base = ConfigParser.load_config_files(paths[0])
    merged = ConfigParser.load_config_files(paths)
    for name in _find_references(base) - _find_references(merged):
        merged.pop(name, None)
    description = re.sub(r"^Over \S+\.json: ", "", merged["_desc_"])
    return _format_json({**merged, "_desc_": description[:1].upper() + description[1:]}) + "\n"


def write_archive(folder: Path, archive: Path) -> None:
    """Write a zip of a folder, under the folder's name."""
    with replace_file(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", _FIRST_DAY)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.create_system = 3  # the one that knows these modes, whatever system packs
            file.writestr(entry, path.read_bytes())


def _pack_file(name: str, source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if name.startswith("configs/") and source.suffix == ".json":
        below = [source.with_name(other) for other in MERGED.get(name.removeprefix("configs/"), ())]
        text = merge_configs([*below, source]) if below else source.read_text(encoding="utf-8")
        target.write_text(pack_config(text, name), encoding="utf-8", newline="")
    else:
        shutil.copyfile(source, target)


def _unlink_what_stays(text: str, folder: Path) -> str:
    """The text of a page in a folder, without its links to files that stay in the repository."""
    link = re.compile(r"(?<!!)\[([^]]+)\]\((?!https?:|#)([^)#\s]+)[^)]*\)")
    return link.sub(lambda found: found[0] if (folder / found[2]).exists() else found[1], text)


def _find_references(config: Mapping[str, Any]) -> set[str]:
    """Top-level names that a config refers to."""
    return set(re.findall(r"@(\w+)", json.dumps(config)))


def _format_json(value: Any, column: int = 0, depth: int = 0) -> str:
    """JSON as the configs are written: what fits into a line stands in one; `column`: what else stands there."""
    line = json.dumps(value, ensure_ascii=False)
    fits = depth > 0 and 4 * depth + column + len(line) < MAX_LINE
    if fits or not value or not isinstance(value, dict | list):
        return line
    names = [f"{json.dumps(name)}: " for name in value] if isinstance(value, dict) else [""] * len(value)
    parts = value.values() if isinstance(value, dict) else value
    indent = " " * 4 * (depth + 1)
    lines = [indent + name + _format_json(part, len(name), depth + 1) for name, part in zip(names, parts, strict=True)]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + "\n" + ",\n".join(lines) + "\n" + " " * 4 * depth + end


def _list_large_files(files: dict[str, Path], url: str | None) -> str:
    """List the large files for MONAI's `download_large_files`."""
    entries = [
        f'  - path: "{name}"\n    url: "{url}/{Path(name).name}"\n'
        f'    hash_val: "{compute_sha256(path)}"\n    hash_type: "sha256"\n'
        for name, path in files.items()
    ]
    return "large_files:\n" + "".join(entries)
