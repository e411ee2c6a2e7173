"""The state of a machine: one line for each check, and what to do where something is wrong."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from scripts import doctor
from scripts.doctor import Check, describe, examine
from scripts.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "bundle" / "configs" / "metadata.json", tmp_path / "configs")
    (tmp_path / "models").mkdir()
    for name in ("lung_detector.pt", "lung_detector.pt.sha256"):
        shutil.copy(ROOT / "bundle" / "models" / name, tmp_path / "models")
    return tmp_path


def find(checks: list[Check], matter: str) -> Check:
    (found,) = [check for check in checks if check.matter == matter]
    return found


def test_every_pinned_package_and_every_file_of_weights_is_examined():
    checks = examine(ROOT / "bundle")
    wanted = json.loads((ROOT / "bundle" / "configs" / "metadata.json").read_text())["required_packages_version"]
    matters = [check.matter for check in checks]
    assert {*wanted, "monai", "torch", "numpy", "device", "threads", "decoders", "disk"} <= set(matters)
    assert {path.name for path in (ROOT / "bundle" / "models").glob("*.pt")} <= set(matters)
    assert not [check for check in checks if check.state == "error"], "this environment is the bundle's own"


def test_another_version_is_a_note_and_a_missing_package_an_error(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    def find_version(name: str) -> str:
        if name == "timm":
            raise PackageNotFoundError(name)
        return "0.0.1"

    monkeypatch.setattr(doctor, "version", find_version)
    checks = examine(bundle)
    monai, timm = find(checks, "monai"), find(checks, "timm")
    assert (monai.state, monai.found) == ("note", "0.0.1") and monai.advice.startswith("tested with ")
    assert (timm.state, timm.found) == ("error", "not installed") and timm.advice.startswith("pip install timm==")


def test_damaged_weights_are_an_error_and_so_are_none(bundle: Path):
    weights = bundle / "models" / "lung_detector.pt"
    assert find(examine(bundle), weights.name).state == "ok"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert find(examine(bundle), weights.name).state == "error"
    weights.unlink()
    assert find(examine(bundle), "weights").state == "error"


def test_a_missing_decoder_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scripts.radiographs.codestreams._is_installed", lambda module: module != "jpeg_ls")
    found = find(examine(bundle), "decoders")
    assert found.state == "error" and "JPEG-LS Lossless Image Compression" in found.found


def test_a_full_disk_and_more_threads_than_cores_are_notes(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 0, 10**9))
    monkeypatch.setattr("torch.get_num_threads", lambda: 4096)
    checks = examine(bundle)
    assert find(checks, "disk").state == "note" and find(checks, "disk").found == "1 GB free here"
    assert find(checks, "threads").advice.startswith("set OMP_NUM_THREADS=")


def test_the_report_has_a_line_for_each_check_and_their_number():
    checks = [Check("a", "ok", "1"), Check("bb", "error", "2", "do this")]
    *_, first, second, last = describe(checks).splitlines()
    assert first.split() == ["a", "ok", "1"] and second.split() == ["bb", "error", "2;", "do", "this"]
    assert last == "1 ok, 0 to note, 1 wrong"


def test_another_folder_is_no_bundle(tmp_path: Path):
    with pytest.raises(InputError, match="a bundle's folder"):
        examine(tmp_path)
