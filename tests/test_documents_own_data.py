"""The guide to one's own data: its commands have options that there are, and lead to a released bundle, one by one."""

from __future__ import annotations

import csv
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from scripts.__main__ import list_verbs
from scripts.options import RUN_OPTIONS
from scripts.synthetic import generate_tree
from scripts.tables import FORMATS, read_tables
from scripts.tables.mapping import LabelMap, find_mapping

from tests.test_commands import Commands, succeed

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "bundle/docs/own_data.md"

#: What a guide's command needs to be a matter of seconds; they come last, and the last of two options counts.
SMALLER = {
    "run training": {"image_size": 64, "epochs": 1, "val_interval": 1, "batch_size": 8},
    "run inferring": {"image_size": 64, "opacity_image_size": 64},
    "scripts prepare": {"workers": 1},
    "scripts check": {"workers": 1},
    "scripts score": {"num_resamples": 10},
    "scripts evaluate-reliability": {"num_resamples": 10},
    "scripts release": {"checks": False},  # `tests/test_release.py` runs them
}


def read_commands() -> list[str]:
    """The guide's commands for Python, each in a line, in their order, and the folder that it changes to."""
    blocks = re.findall(r"(?m)(?:^    .+\n)+", GUIDE.read_text(encoding="utf-8"))
    lines = [" ".join(line.split()) for line in "\n".join(blocks).replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(("python -m ", "cd "))]


COMMANDS = read_commands()


def list_options(command: str) -> list[str]:
    return re.findall(r" --(\w+)", command)


def test_the_guide_goes_the_whole_way_in_order():
    text = "\n".join(COMMANDS)
    verbs = (
        *(
            "doctor",
            "prepare",
            "check",
            "find-lungs",
            "lungs.json",
            "export-weights",
            "train.json",
            "train_detector.json",
        ),
        *("inferring", "score", "evaluate-reliability", "fit-none", "export-weights", "release", "inferring"),
    )
    place = 0
    for verb in verbs:
        place = text.find(verb, place)
        assert place >= 0, f"{verb} is not there, or not in its place"


@pytest.mark.parametrize("command", [each for each in COMMANDS if "-m scripts " in each])
def test_every_verb_of_the_guide_has_its_options(command: str):
    name = command.split()[3].replace("-", "_")
    assert set(list_options(command)) <= inspect.signature(list_verbs()[name]).parameters.keys()


@pytest.mark.parametrize("command", [each for each in COMMANDS if "monai.bundle" in each])
def test_every_run_of_the_guide_has_its_options_and_files(command: str):
    words = shlex.split(command)
    config_file = words[words.index("--config_file") + 1]
    files = [ROOT / "bundle" / name.removeprefix("bundle/") for name in re.findall(r"[\w/]+\.json", config_file)]
    config = ConfigParser.load_config_files([str(path) for path in files])
    assert words[4] in config and set(list_options(command)) <= {*config, *RUN_OPTIONS}


def test_every_option_that_the_text_names_is_there():
    names = {name for verb in list_verbs().values() for name in inspect.signature(verb).parameters}
    configs = ConfigParser.load_config_files(
        [str(ROOT / "bundle/configs" / f"{name}.json") for name in ("train", "inference")]
    )
    found = set(re.findall(r"`--(\w+)", GUIDE.read_text(encoding="utf-8")))
    assert {"format", "label_map", "resume", "operating_point"} <= found <= names | set(configs) | {"logdir"}


def test_the_guide_lists_every_format_and_its_map_can_be_read(tmp_path: Path):
    text = GUIDE.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\| `(\w+)` \|", text) == list(FORMATS)
    example = re.search(r"(?m)^    \{\n(?:^    .*\n)+?^    \}\n", text)
    assert example is not None
    (tmp_path / "map.json").write_text(example[0])
    assert LabelMap(tmp_path / "map.json").meanings.keys() < LabelMap(find_mapping("rsna")).meanings.keys()


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of wards with synthetic images, and a table of them as a German Excel saves it, a row for each box."""
    folder = tmp_path_factory.mktemp("hospital")
    generate_tree(folder / "synthetic", num_studies=40, num_test_studies=1, size=96, workers=1)
    tables = read_tables(folder / "synthetic")
    rows = []
    for number, (image_id, row) in enumerate(sorted(tables.images.items())):
        image = f"ward{number % 3}/IM{number:04d}.dcm"
        (folder / "images" / image).parent.mkdir(parents=True, exist_ok=True)
        next((folder / "synthetic").rglob(f"{image_id}.dcm")).rename(folder / "images" / image)
        lungs = " ".join(f"{edge:.1f}" for edge in tables.lung_boxes[image_id].box)
        for box in row.boxes or [("",) * 4]:
            rows.append([row.study_id, image, tables.study_labels[row.study_id], *box, lungs])
    with (folder / "images.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["study", "image", "label", "xmin", "ymin", "xmax", "ymax", "lung_box"])
        writer.writerows(
            [[str(cell).replace(".", ",") if "ward" not in str(cell) else cell for cell in r] for r in rows]
        )
    return folder


@pytest.fixture(scope="module")
def clone(hospital: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, whose weights the guide replaces."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("bundle", "scripts", "apps", "pyproject.toml", "CHANGELOG.md", "LICENSE", "tests/warm_interpreter.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile)(ROOT / name, root / name)
    shutil.copyfile(hospital / "images.csv", root / "images.csv")
    return root


@pytest.fixture(scope="module")
def commands(clone: Path) -> Iterator[Commands]:
    commands = Commands(clone.parent, clone)
    yield commands
    commands.close()


def shorten(command: str, hospital: Path) -> list[str]:
    options = next((each for part, each in SMALLER.items() if part in command), {})
    added = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [word.replace("IMAGES", str(hospital / "images")) for word in [*shlex.split(command), *added]]


@pytest.mark.slow
def test_every_command_of_the_guide_runs_and_leads_to_a_bundle_of_ones_own(
    commands: Commands, clone: Path, hospital: Path
):
    place = next(number for number, command in enumerate(COMMANDS) if command.startswith("cd "))
    folder, packed = COMMANDS[place : place + 2]  # the commands behind them run in the repository again
    for command in (*COMMANDS[:place], *COMMANDS[place + 2 :]):
        succeed(commands.run(*shorten(command, hospital)[2:]))
    bundle, origin = clone / folder.removeprefix("cd "), ROOT / "bundle/models/model.pt"
    assert (bundle / "models/model.pt").read_bytes() != origin.read_bytes(), "the network is the one that was trained"
    assert (clone / "runs/lungs/sheet.png").is_file() and (clone / "runs/reliability/reliability.json").is_file()
    assert "study mAP" in (clone / "runs/report.html").read_text(encoding="utf-8")
    started = subprocess.run(
        [sys.executable, *shorten(packed, hospital)[1:]],
        cwd=bundle,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr[-2000:]
    done = json.loads((bundle / "runs/inference/done.json").read_text())
    assert done["images"] == len(list((hospital / "images").rglob("*.dcm")))
