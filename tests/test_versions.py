"""One version of the bundle and one of each library, wherever they are written."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
METADATA = json.loads((ROOT / "bundle/configs/metadata.json").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][A-Za-z0-9.]*)")

NAMED_APART = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}


def normalize_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {normalize_name(found[1]): found[2] for line in LINES if (found := PIN.fullmatch(line))}


def list_requirements() -> list[str]:
    extras = (line for lines in PROJECT["optional-dependencies"].values() for line in lines)
    return [normalize_name(re.split(r"[<>=!~; \[]", line)[0]) for line in [*PROJECT["dependencies"], *extras]]


def test_the_project_and_the_bundle_have_one_version():
    assert PROJECT["version"] == METADATA["version"]


def test_both_changelogs_begin_with_this_version():
    assert list(METADATA["changelog"])[0] == METADATA["version"]
    headings = re.findall(r"^## (\S+)", CHANGELOG, flags=re.MULTILINE)
    assert headings[0] == METADATA["version"]
    assert headings == list(METADATA["changelog"])


def test_constraints_hold_pins_only():
    assert [line for line in LINES if line and not line.startswith("#") and not PIN.fullmatch(line)] == []


def test_no_package_is_pinned_twice():
    assert len(PINS) == sum(bool(PIN.fullmatch(line)) for line in LINES)


@pytest.mark.parametrize("name", list_requirements())
def test_every_dependency_is_pinned(name: str):
    assert name in PINS


@pytest.mark.parametrize(("name", "expected"), METADATA["required_packages_version"].items())
def test_the_bundle_requires_what_constraints_pin(name: str, expected: str):
    assert PINS[normalize_name(name)] == expected


@pytest.mark.parametrize(("name", "key"), NAMED_APART.items())
def test_the_bundle_names_the_pinned_monai_torch_and_numpy(name: str, key: str):
    assert PINS[name] == METADATA[key]


def test_the_bundle_requires_dependencies_only():
    dependencies = {normalize_name(re.split(r"[<>=!~; \[]", line)[0]) for line in PROJECT["dependencies"]}
    assert {normalize_name(name) for name in METADATA["required_packages_version"]} <= dependencies


def read_licence(name: str) -> str:
    """The licence of a distribution, by its metadata."""
    metadata = distribution(name).metadata
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License")]
    named = (metadata.get("License-Expression") or metadata.get("License") or "").strip().partition("\n")[0]
    return " ".join([*classifiers, named])


@pytest.mark.parametrize("name", sorted({each.name for each in distributions() if normalize_name(each.name) in PINS}))
def test_no_dependency_has_the_gpl(name: str):
    assert not re.search(r"(?<!L)GPL|(?<!Lesser )General Public License", read_licence(name))


@pytest.mark.parametrize(
    ("name", "floor"), [("torch", (2, 10)), ("pydicom", (3, 0, 2)), ("monai", (1, 6, 1))], ids=lambda value: str(value)
)
def test_pins_are_not_below_what_is_known_to_be_vulnerable(name: str, floor: tuple[int, ...]):
    """CVE-2026-24747 (torch), CVE-2026-32711 (pydicom), and MONAI's GHSA-873f-pvrv-4x83."""
    assert tuple(int(part) for part in PINS[name].split(".")[: len(floor)]) >= floor
