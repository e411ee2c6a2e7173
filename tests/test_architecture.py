"""Architecture: allowed dependencies, names, docstrings and terms, and what never enters the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "scripts").rglob("*.py"))

GROUND_FLOOR = {"labels", "boxes", "charts", "errors", "files", "masks", "processes"}

# A room knows the ground floor and libraries only; the configs wire rooms together. Whoever joins rooms says why.
JOINS: dict[str, dict[str, str]] = {
    "datalist": {
        "tables": "labels and boxes of images stand in the tables",
        "radiographs": "every image is read before it is listed",
        "duplicates": "copies are not trained on, and join patients",
        "folds": "an image is listed with its fold",
    },
    "metrics": {
        "tables": "the ground truth is the challenge's tables ...",
        "datalist": "... or a datalist ...",
        "outputs": "... and trust is asked of what inference wrote down",
    },
    "inferers": {
        "datalist": "the lungs of a datalist are found in one pass, for training on crops ...",
        "radiographs": "... which reads its images ...",
        "outputs": "... and draws the worst of them",
    },
    "outputs": {"radiographs": "an overlay is drawn on the image itself, and DICOM results are derived from it"},
    "pseudo_labels": {
        "datalist": "labels of external images stand in the datalist ...",
        "experiments": "... and come from models whose record says which fold they never saw ...",
        "outputs": "... as they stand in their predictions",
    },
    "explanations": {
        "findings": "a map comes back to the image as a mask does",
        "metrics": "shares get intervals by patient, as scores do",
        "outputs": "their pictures look like those of findings",
        "inferers": "... of pictures that are stacked as inference stacks them",
    },
    "ensembles": {
        "metrics": "a blend is fitted on what the score says of it ...",
        "outputs": "... and on what a run wrote down",
    },
    "experiments": {
        "metrics": "experiments are compared by the score ...",
        "outputs": "... of what their runs wrote down",
    },
    "release": {"exports": "what a release writes for other programs is compared as an export is"},
}
INTEGRATION = "__main__"  # each verb of the command line calls one room

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MAY_PRINT = {"__main__", "errors"}  # errors: the hook that reports bad input in one line
MAX_BYTES = 25_000_000

# Written in two parts, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile("(?<![\\w.])/" + "(work|root|home/[a-z]|Users/[A-Za-z]|opt|mnt)/")
PACKAGE_HOSTS = re.compile("py" + r"pi\.(org|python)|python" + r"hosted\.org|download\.py" + r"torch\.org")
PACKAGE_FILES = re.compile(r"https?://[^ \"]+\.(wh" + r"l|tar\.gz|deb)\b")


def name_room(path: Path) -> str:
    return path.relative_to(ROOT / "scripts").with_suffix("").parts[0]


def find_imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            module = node.module or ""
            yield from [f"scripts.{alias.name}" for alias in node.names] if module == "scripts" else [module]


def find_imported_rooms() -> dict[str, set[str]]:
    """Find the packages that each package imports, itself and the ground layer left out."""
    rooms: dict[str, set[str]] = {}
    for path in SOURCES:
        parts = (name.split(".") for name in find_imports(path))
        found = {name[1] for name in parts if name[0] == "scripts" and len(name) > 1}
        rooms.setdefault(name_room(path), set()).update(found - GROUND_FLOOR - {name_room(path)})
    return rooms


IMPORTED_ROOMS = find_imported_rooms()


def list_tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this copy is not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def read_text(path: Path) -> str | None:
    """The text of a file, None for a binary one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@pytest.mark.parametrize("room", sorted(set(IMPORTED_ROOMS) - {INTEGRATION}))
def test_a_room_imports_the_ground_floor_and_libraries_only(room: str):
    assert IMPORTED_ROOMS[room] <= set(JOINS.get(room, {})), "wire it by config, or report the reason in JOINS"


def test_every_join_in_the_list_is_there():
    assert {room: set(joined) for room, joined in JOINS.items()} == {
        room: joined for room, joined in IMPORTED_ROOMS.items() if joined and room != INTEGRATION
    }


def test_the_ground_floor_imports_nothing_above_it():
    assert {room: IMPORTED_ROOMS[room] for room in GROUND_FLOOR} == {room: set() for room in GROUND_FLOOR}


def test_no_room_imports_the_entry_point():
    assert [room for room, joined in IMPORTED_ROOMS.items() if INTEGRATION in joined] == []


def test_every_library_that_is_imported_is_a_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {normalize_name(re.split(r"[<>=!~; \[]", line)[0]) for line in project["dependencies"]}
    imported = {name.split(".")[0] for path in SOURCES for name in find_imports(path)}
    libraries = sorted(imported - {"scripts"} - set(sys.stdlib_module_names))
    providers = packages_distributions()
    missing = [name for name in libraries if not declared & {normalize_name(each) for each in providers.get(name, [])}]
    assert missing == []


def normalize_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_printed_outside_the_entry_point(path: Path):
    if name_room(path) in MAY_PRINT:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = [node.func.id for node in calls if isinstance(node.func, ast.Name)]
    assert "print" not in names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_in_its_first_line_why_it_exists(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body, "a docstring of one line, at least"


def test_no_module_is_named_by_what_is_left_over():
    stems = {path: {path.stem, *path.relative_to(ROOT).parts} for path in list_tracked_files()}
    assert [path for path, names in stems.items() if FORBIDDEN_NAMES & names] == []


def test_every_test_file_is_named_after_a_room_or_a_module():
    rooms = {name_room(path) for path in SOURCES} | {path.stem for path in SOURCES} | {"scripts"}
    whole = {"architecture", "config", "versions", "bundle", "commands", "integrations"}  # these look at the whole
    names = [path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")]
    known = rooms | whole
    assert [name for name in names if not any(name == room or name.startswith(f"{room}_") for room in known)] == []


def test_no_tracked_file_is_large():
    assert [path for path in list_tracked_files() if path.stat().st_size > MAX_BYTES] == []


def test_no_image_is_tracked():
    def is_dicom(path: Path) -> bool:
        with path.open("rb") as file:
            return path.suffix.lower() in (".dcm", ".dicom", ".ima") or file.read(132)[128:] == b"DICM"

    assert [path for path in list_tracked_files() if is_dicom(path)] == []


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, PACKAGE_HOSTS, PACKAGE_FILES], ids=["path", "host", "file"])
def test_no_tracked_file_names_a_machine_or_a_place_of_packages(pattern: re.Pattern[str]):
    texts = {path.relative_to(ROOT): read_text(path) or "" for path in list_tracked_files()}
    assert {path: hit.group() for path, text in texts.items() if (hit := pattern.search(text))} == {}
