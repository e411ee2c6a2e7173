"""Architecture: allowed dependencies, names, docstrings and terms, and what never enters the repository."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "scripts").rglob("*.py"))
PYTHON_FILES = [
    *SOURCES,
    *sorted(path for name in ("apps", "benchmarks", "tests") for path in (ROOT / name).rglob("*.py")),
]
CONFIGS = sorted(path for path in (ROOT / "bundle" / "configs").rglob("*.json") if path.name != "metadata.json")

#: Layers from the ground up: a package imports libraries, the ground and lower layers; configs wire packages together.
LAYERS: dict[str, tuple[str, ...]] = {
    "ground": (
        *("labels", "boxes", "masks", "errors", "files", "processes", "charts", "bootstrap", "tabulation"),
        "output_folders", "options", "verbs", "pages", "signals", "switches",
    ),
    "formats": ("radiographs", "tables", "predictions", "submission", "checkpoints"),
    "data": ("datalist", "transforms"),
    "model": ("networks", "losses"),
    "engine": ("engines", "inferers", "run_records"),
    "results": ("metrics", "outputs", "explanations", "monai_label"),
    "research": (
        "preparation", "experiments", "ensembles", "pseudo_labels", "recipe", "synthetic", "exports", "release",
        "doctor", "reports", "screening",
    ),
}  # fmt: skip
GROUND_LAYER = set(LAYERS["ground"])
LAYER_OF = {package: layer for layer, packages in enumerate(LAYERS.values()) for package in packages}

#: Imports of a package in the same layer, each with its reason; none may close a circle.
ALLOWED_DEPENDENCIES: dict[tuple[str, str], str] = {
    ("submission", "predictions"): "a submission is written from predictions",
    ("explanations", "outputs"): "their pictures look like those of findings",
    ("pseudo_labels", "experiments"): "labels come from models whose record says which fold they never saw",
    ("reports", "experiments"): "a report shows the experiment registry",
    ("recipe", "experiments"): "a recipe's trainings are runs of a plan ...",
    ("recipe", "preparation"): "... its unlabelled images are prepared ...",
    ("recipe", "ensembles"): "... and `none` of its predictions is blended as a fit blends it",
    ("release", "synthetic"): "samples travel with a release",
    ("release", "exports"): "what a release writes for other programs is compared as an export is",
}

#: Imports of a module past the face of its package, each with its reason.
PAST_A_FACE: dict[tuple[str, str], str] = {
    ("research", "preparation.lungs"): "it needs torch and MONAI, and `prepare` neither ...",
    ("recipe.external", "preparation.lungs"): "... also where unlabelled images join a recipe",
}
ENTRY_POINTS = {"__main__", "research"}  # each verb of the command line calls one package

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MAY_PRINT = {*ENTRY_POINTS, "errors"}  # errors: the hook that reports bad input in one line
MAX_BYTES = 25_000_000

#: First words of a docstring that ask, where a noun phrase or a verb would name the matter.
QUESTION_WORDS = re.compile(r"(what|how|who|whose|whom|whether|where|when|why|which)\b", re.IGNORECASE)

#: A fraction without its leading zero, outside of words, paths and format specifications.
BARE_FRACTION = re.compile(r"(?<![\w:.)\]}/\\$])[-+±]?\.\d+(?!\w*[A-Za-z_/])")
PROSE = {".py", ".md", ".json"}

#: Terms before version 0.4.0, with those that took their places.
FORMER_TERMS = {
    "film": "image", "films": "image", "refuse": "reject", "refused": "rejected", "refusal": "rejection",
    "ledger": "registry", "door": "integration", "doors": "integrations", "article": "seventeenth_place",
    "believed": "accepted", "judge": "evaluate", "judged": "evaluated", "finder": "inferer", "facts": "metadata",
    "idea": "experiment", "ideas": "experiments", "elsewhere": "external", "truths": "references",
    "sameness": "duplicate", "tell": "report", "told": "reported", "said": "predicted", "answer": "prediction",
    "answers": "predictions", "drawn": "synthetic, annotated or sampled",
}  # fmt: skip

# Written in two parts, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile("(?<![\\w.])/" + "(work|root|home/[a-z]|Users/[A-Za-z]|opt|mnt)/")
PACKAGE_HOSTS = re.compile("py" + r"pi\.(org|python)|python" + r"hosted\.org|download\.py" + r"torch\.org")
PACKAGE_FILES = re.compile(r"https?://[^ \"]+\.(wh" + r"l|tar\.gz|deb)\b")


def name_package(path: Path) -> str:
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


def list_imports() -> Iterator[tuple[str, str]]:
    """List importing and imported modules, without "scripts."; those of one package are left out."""
    for path in SOURCES:
        module = ".".join(path.relative_to(ROOT / "scripts").with_suffix("").parts).removesuffix(".__init__")
        for name in find_imports(path):
            imported = name.removeprefix("scripts.")
            if name.startswith("scripts.") and imported.split(".")[0] != module.split(".")[0]:
                yield module, imported


IMPORTS = sorted(set(list_imports()))
PACKAGE_IMPORTS = sorted({(module.split(".")[0], imported.split(".")[0]) for module, imported in IMPORTS})


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


def list_identifiers(tree: ast.AST) -> Iterator[str]:
    """Names that a module defines, uses or passes; those of tests are sentences, and left out."""
    for node in ast.walk(tree):
        names = (getattr(node, field, None) for field in ("id", "attr", "arg", "name"))
        yield from (name for name in names if isinstance(name, str) and not name.startswith("test_"))


def list_keys(content: Any) -> Iterator[str]:
    """Keys of a config, at any depth."""
    if isinstance(content, dict):
        yield from content
    for each in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from list_keys(each)


def test_every_package_has_a_layer():
    assert {name_package(path) for path in SOURCES} - LAYER_OF.keys() == {"__init__", *ENTRY_POINTS}


@pytest.mark.parametrize("package", sorted(LAYER_OF))
def test_a_package_imports_lower_layers_only(package: str):
    imported = {other for one, other in PACKAGE_IMPORTS if one == package and other not in GROUND_LAYER}
    allowed = {other for other in imported if LAYER_OF[other] < LAYER_OF[package]}
    reasons = {other for one, other in ALLOWED_DEPENDENCIES if one == package}
    assert imported - allowed == reasons, "wire it by config, or give the reason in ALLOWED_DEPENDENCIES"


def test_allowed_dependencies_stay_in_a_layer_and_close_no_circle():
    assert {LAYER_OF[one] - LAYER_OF[other] for one, other in ALLOWED_DEPENDENCIES} == {0}
    assert not {one for one, _ in ALLOWED_DEPENDENCIES} & {other for _, other in ALLOWED_DEPENDENCIES}


def test_the_ground_layer_imports_nothing_above_it():
    assert [pair for pair in PACKAGE_IMPORTS if pair[0] in GROUND_LAYER and pair[1] not in GROUND_LAYER] == []


def test_no_package_imports_the_command_line():
    assert {one for one, other in PACKAGE_IMPORTS if other in ENTRY_POINTS} <= {"__main__"}


def test_packages_import_one_another_by_their_faces():
    """Exports of `__init__` are for others: a module behind it may change. A package inside has a face of its own."""
    past = {
        (module, imported)
        for module, imported in IMPORTS
        if "." in imported and (ROOT / "scripts" / imported.replace(".", "/")).with_suffix(".py").is_file()
    }
    assert past == set(PAST_A_FACE), "export it, or give the reason in PAST_A_FACE"


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
def test_nothing_is_printed_outside_the_command_line(path: Path):
    if name_package(path) in MAY_PRINT:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = [node.func.id for node in calls if isinstance(node.func, ast.Name)]
    assert "print" not in names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_a_docstring(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body, "a docstring of one line, at least"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_with_a_question_word(path: Path):
    """A noun phrase (module, class) or a verb (function) is found by a search; a riddle is not."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, documented)]
    first_lines = [(ast.get_docstring(node) or "").partition("\n")[0] for node in nodes]
    assert [line for line in first_lines if QUESTION_WORDS.match(line)] == []


def test_numbers_in_texts_have_their_leading_zero():
    texts = {path.relative_to(ROOT): read_text(path) or "" for path in list_tracked_files() if path.suffix in PROSE}
    assert {path: hits for path, text in texts.items() if (hits := BARE_FRACTION.findall(text))} == {}


@pytest.mark.parametrize("path", [*PYTHON_FILES, *CONFIGS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_identifier_has_a_former_term(path: Path):
    """One term for one idea: the glossary in CONTRIBUTING.md has the present ones."""
    text = path.read_text(encoding="utf-8")
    names = set(list_keys(json.loads(text)) if path.suffix == ".json" else list_identifiers(ast.parse(text)))
    parts = {name: {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)} for name in names}
    assert sorted(name for name in names if parts[name] & FORMER_TERMS.keys()) == []


def test_no_module_is_named_by_what_is_left_over():
    stems = {path: {path.stem, *path.relative_to(ROOT).parts} for path in list_tracked_files()}
    assert [path for path, names in stems.items() if FORBIDDEN_NAMES & names] == []


def test_every_test_file_is_named_after_a_package_or_a_module():
    packages = {name_package(path) for path in SOURCES} | {path.stem for path in SOURCES} | {"scripts"}
    whole = {"architecture", "benchmarks", "config", "versions", "bundle", "commands", "documents", "integrations"}
    names = [path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")]
    known = packages | whole
    assert [
        name for name in names if not any(name == package or name.startswith(f"{package}_") for package in known)
    ] == []


def test_no_tracked_file_is_large():
    assert [path for path in list_tracked_files() if path.stat().st_size > MAX_BYTES] == []


def test_no_image_is_tracked():
    def is_dicom(path: Path) -> bool:
        with path.open("rb") as file:
            return path.suffix.lower() in (".dcm", ".dicom", ".ima") or file.read(132)[128:] == b"DICM"

    assert [path for path in list_tracked_files() if is_dicom(path)] == []


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, PACKAGE_HOSTS, PACKAGE_FILES], ids=["path", "host", "file"])
def test_no_tracked_file_names_a_machine_or_a_package_host(pattern: re.Pattern[str]):
    texts = {path.relative_to(ROOT): read_text(path) or "" for path in list_tracked_files()}
    assert {path: hit.group() for path, text in texts.items() if (hit := pattern.search(text))} == {}
