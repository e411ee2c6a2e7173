"""A release: what goes in, what is rejected, that it is the same twice, and that it works as its model card says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from pydicom import dcmread
from pydicom.uid import JPEGBaseline8Bit
from scripts.checkpoints import save_weights
from scripts.errors import InputError
from scripts.networks import OpacityDetector
from scripts.release import (
    BUNDLE_NAME,
    CHECKS,
    Check,
    Release,
    Workplace,
    assemble_release,
    assembly,
    run_checks,
    unpack_release,
)
from scripts.release.checks import TINY, check_inference, check_preparation, check_style, check_training, place_data
from scripts.release.closure import ImportGraph, prune_exports
from scripts.release.samples import write_samples
from scripts.release.workplace import extract_archive

ROOT = Path(__file__).resolve().parents[1]
MODEL_CARD = ROOT / "bundle" / "docs" / "README.md"
HEADINGS = [
    "Model Description", "Data", "Preprocessing", "Performance", "Additional Usage Steps", "System Configuration",
    "Limitations", "Citation Info", "References",
]  # fmt: skip
PARTS = {"configs", "models", "docs", "samples", "scripts", "LICENSE"}
WORDS = "Research use only. Not\na medical device."


def copy_repository(folder: Path) -> Path:
    for name in ("bundle", "scripts", "pyproject.toml", "CHANGELOG.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this one, with all weights: untrained ones where a network has not been trained yet; read only."""
    folder = copy_repository(tmp_path_factory.mktemp("repository"))
    missing = folder / "bundle" / "models" / "opacity_detector.pt"
    if not missing.is_file():
        torch.manual_seed(0)
        save_weights(OpacityDetector().state_dict(), missing)
    shutil.copytree(ROOT / "tests" / "zoo", folder / "tests" / "zoo")
    return folder


@pytest.fixture(scope="module")
def packed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return assemble_release(repository, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of a few files, to be harmed."""
    folder = tmp_path / "small"
    for name in ("bundle/configs/metadata.json", "bundle/configs/inference.json", "pyproject.toml", "CHANGELOG.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    monkeypatch.setattr(assembly, "write_samples", lambda folder: None)
    for name in ("bundle/docs/README.md", "scripts/__pycache__/x.py", "LICENSE"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text\n")
    for name in ("model", "lung_detector", "opacity_detector"):
        save_weights({"weight": torch.zeros(1)}, folder / "bundle" / "models" / f"{name}.pt")
    return folder


def replace_text(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def read_version() -> str:
    return json.loads((ROOT / "bundle/configs/metadata.json").read_text())["version"]


def test_a_release_holds_configs_models_docs_licence_and_code(packed: Release):
    names = {path.relative_to(packed.folder).as_posix() for path in packed.folder.rglob("*") if path.is_file()}
    assert {name.partition("/")[0] for name in names} == PARTS
    assert {"models/model.pt", "models/model.pt.sha256", "docs/README.md", "docs/data_license.txt"} <= names
    assert "scripts/tables/mappings/rsna.json" in names, "data that packed code reads"
    assert packed.folder.name == BUNDLE_NAME and packed.archive.name == f"{BUNDLE_NAME}_v{read_version()}.zip"
    assert not [path for path in packed.folder.rglob("*") if path.name == "__pycache__" or path.is_symlink()]
    assert not packed.large_files and "large_files.yml" not in names


def test_every_link_of_a_packed_page_leads_somewhere(packed: Release):
    """Files that stay in the repository are named there, and not linked."""
    for page in packed.folder.glob("docs/**/*.md"):
        targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
        assert not [target for target in targets if not (page.parent / target).exists()], page.name
    claims = (packed.folder / "docs/claims.md").read_text(encoding="utf-8")
    assert "every run stands in experiments.csv." in claims and "](results.md)" in claims


def test_the_zip_is_the_folder_and_the_same_twice(packed: Release, repository: Path, tmp_path: Path):
    again = assemble_release(repository, tmp_path)
    assert again.archive.read_bytes() == packed.archive.read_bytes()
    with zipfile.ZipFile(packed.archive) as file:
        names = file.namelist()
        assert names == sorted(names)
        for name in names:
            assert file.read(name) == (packed.folder.parent / name).read_bytes()


def test_templates_travel_with_the_modules_that_fill_them(packed: Release):
    found = {path.relative_to(packed.folder / "scripts").as_posix() for path in packed.folder.rglob("*.html")}
    assert found == {"pages/page.html", "outputs/study_pages/study.html", "outputs/study_pages/index.html"}
    assert (packed.folder / "scripts/pages/page.css").is_file() and (packed.folder / "scripts/pages/page.js").is_file()


def test_a_packed_config_differs_in_its_root_only(packed: Release):
    for path in sorted((ROOT / "bundle" / "configs").rglob("*.json")):
        name = f"configs/{path.relative_to(ROOT / 'bundle/configs').as_posix()}"
        if path.name in assembly.MERGED or assembly.RESEARCH & {name, name.rpartition("/")[0]}:
            assert path.name in assembly.MERGED or not (packed.folder / name).exists()
            continue
        lines, source = ((packed.folder / "configs" / path.relative_to(ROOT / "bundle/configs")), path)
        changed = [
            pair
            for pair in zip(lines.read_text().splitlines(), source.read_text().splitlines(), strict=True)
            if pair[0] != pair[1]
        ]
        expected = [('    "bundle_root": ".",', '    "bundle_root": "bundle",')]
        assert changed == (expected if "bundle_root" in json.loads(source.read_text()) else [])


@pytest.mark.parametrize(("name", "below"), assembly.MERGED.items())
def test_a_detectors_config_is_packed_whole_and_says_what_its_stack_says(
    packed: Release, name: str, below: tuple[str, ...]
):
    stack = [str(ROOT / "bundle" / "configs" / file) for file in (*below, name)]
    expected, whole = ConfigParser.load_config_files(stack), packed.folder / "configs" / name
    config = json.loads(whole.read_text())
    unused = {"mask_widths", "mask_weight", "label_smoothing"}
    assert set(expected) - set(config) == unused, "what only the classifier's parts refer to"
    assert {key for key in config if config[key] != expected[key]} == {"_desc_", "bundle_root"}
    assert config["bundle_root"] == "."
    references = set(re.findall(r"@(\w+)", whole.read_text()))
    assert references - {"_meta_"} <= set(config), "whole by itself"
    assert config["_desc_"].startswith("Trains the ")
    assert max(map(len, whole.read_text().splitlines())) <= 140


def test_an_earlier_release_is_replaced_as_a_whole(small: Path, tmp_path: Path):
    first = assemble_release(small, tmp_path / "dist")
    (first.folder / "stray.txt").write_text("old")
    assemble_release(small, tmp_path / "dist")
    assert not (first.folder / "stray.txt").exists()
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == [BUNDLE_NAME, first.archive.name]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("pyproject.toml", 'version = "', 'version = "9.'),
        ("CHANGELOG.md", "\n## ", "\n## 9.0.0\n\n## "),
        ("bundle/configs/metadata.json", '"version": "', '"version": "9.'),
        ("bundle/configs/metadata.json", '"changelog": {', '"changelog": {"9.0.0": "x", '),
    ],
)
def test_versions_that_differ_are_rejected(small: Path, tmp_path: Path, name: str, before: str, after: str):
    replace_text(small / name, before, after)
    with pytest.raises(InputError, match=r"expected one version, found .*9\..*write the new one into all four"):
        assemble_release(small, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def harm_weights(small: Path) -> None:
    (small / "bundle/models/model.pt").write_bytes(b"other")


def forget_hash(small: Path) -> None:
    (small / "bundle/models/model.pt.sha256").unlink()


def forget_weights(small: Path) -> None:
    for path in (small / "bundle/models").glob("opacity_detector*"):
        path.unlink()


def link_file(small: Path) -> None:
    (small / "bundle/docs/link.md").symlink_to("README.md")


def forget_licence(small: Path) -> None:
    (small / "LICENSE").unlink()


def name_another_root(small: Path) -> None:
    replace_text(small / "bundle/configs/inference.json", '"bundle_root": "bundle"', '"bundle_root": "external"')


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (harm_weights, r"the SHA-256 of models/model\.pt beside it, found .*another file's"),
        (forget_hash, r"the SHA-256 of models/model\.pt beside it, found none"),
        (forget_weights, r"the weights that inference\.json names, found no models/opacity_detector\.pt"),
        (link_file, r"files, no links, found a link at bundle/docs/link\.md"),
        (forget_licence, "a whole repository, found no LICENSE"),
        (name_another_root, r"\"bundle_root\": \"bundle\" once, found something else in configs/inference\.json"),
    ],
)
def test_what_no_release_may_hold_is_rejected(small: Path, tmp_path: Path, harm, message: str):
    harm(small)
    with pytest.raises(InputError, match=message):
        assemble_release(small, tmp_path / "dist")
    assert not list(tmp_path.glob("dist/*"))


def test_a_large_file_is_listed_where_it_can_be_had_and_rejected_otherwise(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save_weights({"weight": torch.zeros(50_000)}, small / "bundle/models/model.pt")
    monkeypatch.setattr(assembly, "MAX_BYTES", 100_000)
    with pytest.raises(InputError, match=r"large_files_url"):
        assemble_release(small, tmp_path / "dist")
    release = assemble_release(small, tmp_path / "dist", "https://example.org/weights")
    listed = (release.folder / "large_files.yml").read_text()
    assert 'path: "models/model.pt"' in listed and 'url: "https://example.org/weights/model.pt"' in listed
    assert release.large_files == ("models/model.pt",) and not (release.folder / "models/model.pt").exists()
    with unpack_release(release, small) as place:
        assert (place.bundle / "models/model.pt").is_file()


@pytest.mark.parametrize("name", ["/etc/x", f"{BUNDLE_NAME}/../x", "other/x", f"{BUNDLE_NAME}/a\\..\\x"])
def test_an_archive_that_leads_elsewhere_is_not_unpacked(tmp_path: Path, name: str):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = 0o100644 << 16
        file.writestr(entry, "x")
    with pytest.raises(InputError, match="plain files below"):
        extract_archive(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_with_a_link_is_not_unpacked(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        entry = zipfile.ZipInfo(f"{BUNDLE_NAME}/link")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match="plain files below"):
        extract_archive(tmp_path / "x.zip", tmp_path / "out")


@pytest.fixture(scope="module")
def place(packed: Release, repository: Path) -> Iterator[Workplace]:
    with unpack_release(packed, repository) as place:
        yield place


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.getaddrinfo('example.org', 80)",
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
        "open('../../beside.txt', 'w')",
        "import os; os.mkdir('new')",
        "import pathlib; pathlib.Path('models/model.pt').unlink()",
        "import os; os.rename('models', 'other')",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'open(\"new\", \"w\")'])",
        "import tempfile; open(tempfile.mktemp(), 'w')",
    ],
)
def test_a_check_finds_who_reaches_out_or_writes_elsewhere(place: Workplace, code: str):
    files = {path: path.stat().st_mtime_ns for path in place.bundle.rglob("*")}
    try:
        with pytest.raises(InputError):
            place.run_python("-c", code)
    finally:
        (place.folder / "tried.txt").unlink(missing_ok=True)
        shutil.rmtree(place.folder / "temporary", ignore_errors=True)
    assert {path: path.stat().st_mtime_ns for path in place.bundle.rglob("*")} == files


def test_a_check_lets_outputs_be_written(place: Workplace):
    out = place.out("allowed")
    assert "done" in place.run_python("-c", f"import os; os.makedirs('{out}'); open('{out}/x', 'w'); print('done')")


def test_checks_end_with_the_first_that_fails_and_are_logged(packed: Release, repository: Path, tmp_path: Path):
    def pass_by(place: Workplace) -> str:
        return "all is well"

    def fail(place: Workplace) -> str:
        return place.run_python("-c", "raise SystemExit('no such image')")

    checks = [Check("first", pass_by), Check("second", fail), Check("third", pass_by)]
    with pytest.raises(InputError, match=r"the check 'second' to pass, found .*exit status 0, found 1: no such image"):
        run_checks(packed, repository, tmp_path / "release.log", checks)
    log = (tmp_path / "release.log").read_text()
    assert re.search(r"^first +passed +[\d.]+ s  all is well$", log, flags=re.MULTILINE)
    assert re.search(r"^second +FAILED +[\d.]+ s ", log, flags=re.MULTILINE)
    assert "third" not in log and "no such image" in log


def list_packed_code(packed: Release) -> dict[str, str]:
    paths = sorted((packed.folder / "scripts").rglob("*.py"))
    return {path.relative_to(packed.folder).as_posix(): path.read_text() for path in paths}


def test_the_packed_code_is_bounded_and_holds_no_research(packed: Release):
    code = list_packed_code(packed)
    assert 5_000 < sum(text.count("\n") for text in code.values()) <= assembly.MAX_CODE_LINES
    folders = {name.split("/")[1] for name in code}
    research = {"research.py", "experiments", "ensembles", "synthetic", "release", "recipe", "explanations"}
    assert not folders & research


def test_code_above_the_bound_is_rejected(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(assembly, "MAX_CODE_LINES", 1_000)
    with pytest.raises(InputError, match="up to 1000 lines of packed code"):
        assemble_release(small, tmp_path / "dist")


def test_whatever_packed_code_configs_and_card_name_is_packed(packed: Release):
    """Also the exports that are left in a package's `__init__`; names that are nowhere end in an error."""
    graph = ImportGraph(packed.folder)
    texts = [path.read_text() for path in (packed.folder / "configs").glob("*.json")]
    named = assembly.find_quoted_names("\n".join([*texts, (packed.folder / "docs/README.md").read_text()]))
    everything = named | set(graph.paths) - {"scripts.__main__"}
    assert graph.find_closure(everything, without={assembly.RESEARCH_VERBS}) == set(graph.paths) - {"scripts.__main__"}


@pytest.mark.parametrize("name", ["scripts.metrics.Absent", "scripts.absent", "scripts.metrics.scores.nowhere"])
def test_a_name_that_no_module_has_is_rejected(small: Path, tmp_path: Path, name: str):
    config = small / "bundle/configs/inference.json"
    replace_text(config, '"_target_": "scripts.inferers.ImageInferer"', f'"_target_": "{name}"')
    with pytest.raises(InputError, match=f"expected a name of .*, found {name}"):
        assemble_release(small, tmp_path / "dist")


def test_exports_of_modules_that_are_not_packed_are_left_out():
    text = (
        '"""A package."""\n\nfrom scripts.a.one import first\n'
        "from scripts.a.two import (\n    second,\n    third,\n)\n\n"
        '__all__ = [\n    "first",\n    "second",\n    "third",\n]\n'
    )
    expected = '"""A package."""\n\nfrom scripts.a.one import first\n\n__all__ = ["first"]\n'
    assert prune_exports(text, {"scripts.a", "scripts.a.one"}) == expected
    assert prune_exports(text, {"scripts.a", "scripts.a.one", "scripts.a.two"}) == text


def test_the_samples_are_small_synthetic_images(packed: Release, tmp_path: Path):
    images = list((packed.folder / "samples").rglob("*.dcm"))
    assert len(images) >= 15 and sum(path.stat().st_size for path in images) < 500_000
    write_samples(tmp_path / "drawn")  # the same again, byte by byte: nothing else can have made them
    copies = [tmp_path / "drawn" / path.relative_to(packed.folder / "samples") for path in images]
    assert [path.read_bytes() for path in images] == [path.read_bytes() for path in copies]
    syntaxes = {dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in images}
    assert syntaxes == {JPEGBaseline8Bit}, "Pillow alone decodes it"


def test_the_packed_command_line_has_its_own_verbs_and_names_the_place_of_the_others(place: Workplace):
    listed = place.run_python("-m", "scripts", "--help")
    assert "export-networks" in listed and "cross-validate" not in listed
    with pytest.raises(InputError, match="research verbs are not packed: use the bundle's repository"):
        place.run_python("-m", "scripts", "cross-validate")


def read_headings() -> list[str]:
    return re.findall(r"^# (.+)$", re.sub(r"(?m)^    .*$", "", MODEL_CARD.read_text()), flags=re.MULTILINE)


def test_the_model_card_has_the_zoos_headings_and_says_what_it_is_for():
    assert read_headings() == HEADINGS
    assert WORDS in MODEL_CARD.read_text()


def test_the_model_card_shows_figures_of_the_results_only():
    results = (ROOT / "bundle/docs/results.md").read_text()
    card = MODEL_CARD.read_text()
    section = card[card.index("# Performance") : card.index("# Additional Usage Steps")]
    figures = re.findall(r"(?<![\d.])0\.\d{3}", section)
    assert len(figures) > 30
    assert [figure for figure in figures if figure not in results] == []


def read_commands() -> list[str]:
    """The model card's commands, in their order."""
    blocks = re.findall(r"(?m)(?:^    .+\n)+", MODEL_CARD.read_text())
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


#: What makes a command of the model card small enough for a test; they come last, and the last of two options counts.
SMALLER = {"run training": {**TINY, "epochs": 1, "val_interval": 1}, "run evaluating": TINY}


def shorten(command: str) -> list[str]:
    options: dict[str, object] = {}
    for part, changes in SMALLER.items():
        options.update(changes if part in command else {})
    words = shlex.split(command)
    kept = [word for at, word in enumerate(words) if not _is_replaced(words, at, options)]
    starts = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}
    named = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return [*starts[kept[0]], *kept[1:], *named]


def _is_replaced(words: list[str], at: int, options: dict[str, object]) -> bool:
    return words[at].removeprefix("--") in options or (at > 0 and words[at - 1].removeprefix("--") in options)


def test_the_model_card_has_commands_of_each_kind():
    text = "\n".join(read_commands())
    for word in ("prepare", "training", "evaluating", "inferring", "torchrun", "export", "ckpt_export", "score"):
        assert word in text
    assert all(command.startswith(("python -m ", "torchrun ")) for command in read_commands())


@pytest.mark.slow
def test_every_command_of_the_model_card_runs_in_the_packed_bundle(packed: Release, repository: Path):
    """One after the other, as a reader would; only training is made short, and its images are few."""
    with unpack_release(packed, repository) as place:
        (place.bundle / "runs").symlink_to(place.out("runs"))
        place.out("runs").mkdir(parents=True)
        for command in read_commands():
            place.run_command(shorten(command), watched=False)
        for name in ("inference", "evaluation", "evaluation_by_two"):
            assert (place.out("runs") / name / "submission.csv").is_file()


@pytest.mark.slow
def test_a_release_passes_all_its_checks(packed: Release, repository: Path, tmp_path: Path):
    assert f"{len(CHECKS)} checks passed" in run_checks(packed, repository, tmp_path / "release.log")


@pytest.mark.slow
def test_training_and_inference_open_no_socket_and_write_below_their_output_only(packed: Release, repository: Path):
    with unpack_release(packed, repository) as place:
        for check in (check_preparation, check_training, check_inference):
            check(place)
        assert {path.name for path in place.bundle.iterdir()} == PARTS
        assert place_data(place)["datalist_file"]


def test_the_zoos_formatters_are_asked_above_the_bundle(tmp_path: Path):
    asked: list[tuple[str, ...]] = []

    class Place(Workplace):
        def run_python(self, *arguments: str, cwd: Path | None = None, watched: bool = True) -> str:
            assert cwd == tmp_path
            asked.append(arguments)
            return "3 files would be left unchanged"

    assert check_style(Place(tmp_path, tmp_path)) == "isort and black: 3 files would be left unchanged"
    assert [command[1] for command in asked] == ["isort", "black"]
    assert all(command[-1] == "models/chest_xray_covid19/scripts" for command in asked)
    assert all("--check" in command for command in asked)
