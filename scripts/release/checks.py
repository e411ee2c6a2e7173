"""Checks of a release as its users will run it: unpacked, by fresh processes that know nothing of the repository."""

from __future__ import annotations

import ast
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.exports import TOLERANCE
from scripts.files import compute_sha256
from scripts.release.assembly import LARGE_FILES, Release
from scripts.release.samples import SAMPLES
from scripts.release.workplace import Options, Workplace, unpack_release
from tqdm import tqdm

#: Small enough for a minute in all: one epoch of timm's test network on the packed samples.
TINY = {"encoder": "test_efficientnet", "encoder_options": "{}", "image_size": 64, "batch_size": 8}

REQUIRED_METADATA = (
    "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
    "task", "description", "authors", "copyright", "network_data_format", "supported_apps",
)  # fmt: skip
REQUIRED_FORMAT = (
    "type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def",
)  # fmt: skip

#: The model zoo's formatters with its options; `make format` writes what they accept.
ZOO_STYLE = (("isort", "--profile", "black"), ("black", "--skip-magic-trailing-comma"))


@dataclass(frozen=True)
class Check:
    """One check of a release: it raises, or returns what there is to say of it."""

    name: str
    run: Callable[[Workplace], str]


def run_checks(release: Release, root: str | Path, log: str | Path, checks: Sequence[Check] | None = None) -> str:
    """Run the checks one after the other, up to the first that fails, and write the log as they go.

    Raises:
        InputError: where one fails.
    """
    start, lines = time.monotonic(), 0
    with unpack_release(release, root) as place, Path(log).open("w", encoding="utf-8", buffering=1) as file:
        file.write(f"{release.archive.name} {release.archive.stat().st_size} {compute_sha256(release.archive)}\n")
        for check in tqdm(checks or CHECKS, "checks", unit="check", disable=None):
            begin = time.monotonic()
            try:
                note = check.run(place)
            except Exception as error:
                file.write(f"{check.name:<28} FAILED {time.monotonic() - begin:6.1f} s  {error}\n")
                reported = place.folder / "reported.txt"
                file.write(reported.read_text(encoding="utf-8") if reported.is_file() else "")
                advice = f"see {log}, and do not hand on {release.archive.name}"
                raise InputError(f"the check '{check.name}' to pass", f"that it failed ({error})", advice) from error
            file.write(f"{check.name:<28} passed {time.monotonic() - begin:6.1f} s  {note}\n")
            lines += 1
        seconds = time.monotonic() - start
        file.write(f"{lines} checks passed in {seconds:.1f} s\n")
    return f"{lines} checks passed in {seconds:.0f} s: {log}"


def check_files(place: Workplace) -> str:
    """Check that what the model zoo wants is there, and what it does not want is not."""
    wanted = ("LICENSE", "configs/metadata.json", "configs/inference.json", "configs/train.json", "models/model.pt")
    for name in (*wanted, "configs/logging.conf", "docs/README.md", "docs/data_license.txt", "scripts/__init__.py"):
        if not (place.bundle / name).is_file():
            raise InputError(f"{name} in the bundle", "no such file", "add it to PARTS")
    files = [path for path in place.bundle.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    largest = max(path.stat().st_size for path in files)
    return (
        f"{len(files)} files, {size / 1e6:.1f} MB, the largest {largest / 1e6:.1f} MB, {_count_large(place)} elsewhere"
    )


def _count_large(place: Workplace) -> int:
    listed = place.bundle / LARGE_FILES
    return listed.read_text(encoding="utf-8").count("- path:") if listed.is_file() else 0


def check_place_of_code(place: Workplace) -> str:
    """The code that is imported is the packed one, from the bundle's folder."""
    reported = place.run_python("-c", "import scripts; print(scripts.__file__)").strip()
    if Path(reported).resolve() != place.bundle / "scripts" / "__init__.py":
        raise InputError("scripts in the packed folder", reported, "see what else is installed under this name")
    return "scripts.__file__ lies in the packed folder"


def check_imports(place: Workplace) -> str:
    """Every packed module can be imported from the packed folder."""
    paths = sorted((place.bundle / "scripts").rglob("*.py"))
    names = [".".join(path.relative_to(place.bundle).with_suffix("").parts) for path in paths]
    modules = [name.removesuffix(".__init__") for name in names]
    place.run_python("-c", f"import importlib\nfor name in {modules!r}: importlib.import_module(name)")
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in paths)
    return f"{len(modules)} modules of {lines} lines"


def check_metadata(place: Workplace) -> str:
    """Keys and formats that the schema asks for; the schema itself is online."""
    metadata = json.loads((place.bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    missing = [key for key in REQUIRED_METADATA if not metadata.get(key) and key != "supported_apps"]
    formats = metadata["network_data_format"]
    described = [item for side in ("inputs", "outputs") for item in formats[side].values()]
    missing += [key for item in described for key in REQUIRED_FORMAT if key not in item]
    if not isinstance(metadata.get("supported_apps"), dict):
        missing.append("supported_apps as an object")
    if metadata["version"] not in metadata["changelog"]:
        missing.append("the version in the changelog")
    missing += [f"{key} as a version" for key, value in _name_versions(metadata).items() if not _is_version(value)]
    missing += [f"{key} of the kind" for key in REQUIRED_FORMAT for item in described if not _is_kind(key, item[key])]
    if missing:
        raise InputError("metadata as the schema wants it", f"without {', '.join(missing)}", "complete it")
    return "required keys and formats; verify_metadata is not run, its schema is online"


def _name_versions(metadata: dict[str, Any]) -> dict[str, str]:
    named = {key: metadata[key] for key in ("version", "monai_version", "pytorch_version", "numpy_version")}
    return {**named, **metadata["required_packages_version"]}


def _is_version(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"\d+(\.\w+)+", text) is not None


def _is_kind(key: str, value: object) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {
        "num_channels": int, "spatial_shape": list, "value_range": list, "is_patch_data": bool, "channel_def": dict,
    }  # fmt: skip
    return isinstance(value, kinds.get(key, str))


def check_preparation(place: Workplace) -> str:
    """A datalist of the packed samples: the packed entry point works."""
    folders = ["--tree", str(place.bundle / SAMPLES), "--out", str(place.out("prepared"))]
    reported = place.run_python("-m", "scripts", "prepare", *folders, "--num_folds", "3", "--workers", "1")
    return reported.strip().partition(":")[0].rpartition("\n")[2]


def place_data(place: Workplace) -> Options:
    """Options that lead to the packed samples."""
    return {"dataset_dir": place.bundle / SAMPLES, "datalist_file": place.out("prepared") / "datalist.json"}


def check_training(place: Workplace) -> str:
    """One epoch of one fold, without the network, writing below its output folder only."""
    options = {**place_data(place), **TINY, "epochs": 1, "val_interval": 1, "output_dir": place.out("training")}
    place.run_bundle("training", "configs/train.json", options)
    (row,) = json.loads((place.out("training") / "history.json").read_text(encoding="utf-8"))
    return f"one epoch, study mAP {row['study_map']:.2f} of synthetic images; no socket, nothing written elsewhere"


def check_evaluation(place: Workplace) -> str:
    """The fold that was held out, by the weights of the training."""
    out, weights = place.out("evaluation"), place.out("training") / "last.pt"
    options = {**place_data(place), **TINY, "weights": weights, "output_dir": out, "overlays": 1}
    place.run_bundle("evaluating", "['configs/train.json','configs/evaluate.json']", options)
    return _format_findings(out)


def check_inference(place: Workplace) -> str:
    """A folder of images, by the shipped weights, as the zoo, Label and Deploy find them."""
    out = place.out("inference")
    options: Options = {"dataset_dir": place.bundle / SAMPLES / "test", "output_dir": out}
    place.run_bundle("inferring", "configs/inference.json", options)
    return f"{_format_findings(out)} by the shipped weights; no socket, nothing written elsewhere"


def check_inference_in_another_folder(place: Workplace) -> str:
    """The same from another working directory gives the same."""
    out, external = place.out("inference_in_another_folder"), place.out("external")
    external.mkdir(parents=True)
    options: Options = {"bundle_root": place.bundle, "dataset_dir": place.bundle / SAMPLES / "test", "output_dir": out}
    place.run_bundle("run", str(place.bundle / "configs" / "inference.json"), options, cwd=external)
    names = ("images.csv", "submission.csv", "predictions.json")
    different = [n for n in names if (out / n).read_bytes() != (place.out("inference") / n).read_bytes()]
    if different:
        raise InputError("the same results from another folder", f"another {different[0]}", "look for relative paths")
    return "the same three tables"


def _format_findings(out: Path) -> str:
    record = json.loads((out / "done.json").read_text(encoding="utf-8"))
    return f"{record['images']} images of {record['studies']} studies"


_PROPERTIES = """
import sys
from monai.bundle import ConfigWorkflow
config, kind, out, images, datalist = sys.argv[1:]
places = {"output_dir": out, "dataset_dir": images, **({"datalist_file": datalist} if kind == "train" else {})}
workflow = ConfigWorkflow(config, logging_file=False, workflow_type=kind, **places)
workflow.initialize()
missing = workflow.check_properties()
assert missing == [], missing
"""


def check_properties(place: Workplace) -> str:
    """`ConfigWorkflow.check_properties` misses nothing in the two whole configs."""
    images, datalist = place_data(place).values()
    for kind, tree in (("train", images), ("infer", place.bundle / SAMPLES / "test")):
        name = {"train": "train", "infer": "inference"}[kind]
        out = place.out(f"properties_{kind}")
        place.run_python("-c", _PROPERTIES, f"configs/{name}.json", kind, str(out), str(tree), str(datalist))
    return "train and infer"


def check_network(place: Workplace) -> str:
    """`verify_net_in_out` on the one tensor that metadata.json calls pred: the classifier returns a dictionary."""
    component = {"_target_": "scripts.exports.StudyProbabilities", "network": "@network_def"}
    files = ["--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"]
    arguments = ["study", *files, "--n", "2", "--study", str(component), "--device", "cpu"]
    place.run_python("-m", "monai.bundle", "verify_net_in_out", *arguments)
    return "by an override that takes the study's probabilities of the dictionary"


_COMPARISON = """
import sys, torch
from monai.bundle import ConfigParser
parser = ConfigParser()
parser.read_config("configs/inference.json")
parser.read_meta("configs/metadata.json")
parser["device"] = "cpu"
eager = parser.get_parsed_content("network").eval()
image = torch.rand(2, 1, 160, 160)
with torch.no_grad():
    scripted, expected = torch.jit.load(sys.argv[1]).eval()(image), eager(image)
print("difference", max(float((scripted[name] - value).abs().max()) for name, value in expected.items()))
"""


def check_checkpoint_export(place: Workplace) -> str:
    """MONAI's own export of the study classifier, loaded, equals the eager network."""
    target = place.out("ckpt_export") / "model.ts"
    target.parent.mkdir(parents=True)
    files = ["--ckpt_file", "models/model.pt", "--meta_file", "configs/metadata.json", "--filepath", str(target)]
    export = ["ckpt_export", "network_def", "--config_file", "configs/inference.json", *files]
    place.run_python("-m", "monai.bundle", *export)
    reported = re.search(r"^difference (\S+)$", place.run_python("-c", _COMPARISON, str(target)), flags=re.MULTILINE)
    difference = float(reported[1]) if reported else float("nan")
    if not difference <= TOLERANCE:
        raise InputError(f"the eager outputs within {TOLERANCE}", f"{difference:.2g} apart", "see MONAI's ckpt_export")
    return f"differs from eager by {difference:.1g}"


def check_exports(place: Workplace) -> str:
    """TorchScript and ONNX of all three networks, each compared with the eager one."""
    out = place.out("exports")
    place.run_python("-m", "scripts", "export-networks", "--out", str(out), "--config", "configs/inference.json")
    measured = json.loads((out / "exports.json").read_text(encoding="utf-8"))
    printed = [
        f"{name} {kind} {'not compared' if difference is None else format(difference, '.1g')}"
        for name, kinds in measured.items()
        for kind, difference in kinds.items()
    ]
    return ", ".join(printed)


def check_syntax_of_code(place: Workplace) -> str:
    """No packed file of code or text names a place on the packing machine."""
    forbidden = re.compile(f"{re.escape(str(place.root))}(?![\\w.-])") if len(place.root.parts) > 1 else None
    paths = [path for path in place.bundle.rglob("*") if path.suffix in (".py", ".json", ".md", ".txt", ".csv", ".yml")]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            ast.parse(text)
        if forbidden is not None and forbidden.search(text):
            raise InputError("no path of the packing machine", f"one in {path.name}", "write it relative to the bundle")
    return f"{len(paths)} files of text without a path of this machine"


def check_style(place: Workplace) -> str:
    """The model zoo's formatters would change no file; they run where the zoo runs them, above the bundle's folder.

    There, `scripts` is no package of the project's own: isort sorts it with the libraries.
    """
    code = str((place.bundle / "scripts").relative_to(place.folder))
    printed = []
    for tool, *options in ZOO_STYLE:
        command = ["-m", tool, "--check", *options, "--line-length", "120", code]
        reported = place.run_python(*command, cwd=place.folder, watched=False)  # black keeps a cache of its own
        if tool == "black":
            printed += re.findall(r"\d+ files? would be left unchanged", reported)
    return f"isort and black: {', '.join(printed)}"


def check_zoo_tests(place: Workplace) -> str:
    """The model zoo's unit tests of this bundle, from where the zoo runs its own."""
    source = place.root / "tests" / "zoo"
    if not source.is_dir():
        return "not run: no tests/zoo in this repository"
    folder = place.out("unit_tests")
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    printed = []
    for test in sorted(folder.glob("test_*.py")):
        reported = place.run_python(str(test), cwd=place.folder, watched=False)
        found = re.search(r"Ran (\d+) tests? in [\d.]+s\s+OK", reported)
        if found is None:
            raise InputError("tests that ran", f"none in {test.name}", "see unittest's output")
        printed.append(f"{found[1]} in {test.name}")
    return ", ".join(printed)


#: In the order in which they build on one another; the cheapest of those that may fail stand first.
CHECKS: tuple[Check, ...] = (
    Check("files", check_files),
    Check("text", check_syntax_of_code),
    Check("style", check_style),
    Check("metadata", check_metadata),
    Check("place of the code", check_place_of_code),
    Check("imports of the code", check_imports),
    Check("preparation", check_preparation),
    Check("properties", check_properties),
    Check("verify_net_in_out", check_network),
    Check("training", check_training),
    Check("evaluation", check_evaluation),
    Check("inference", check_inference),
    Check("inference from another folder", check_inference_in_another_folder),
    Check("ckpt_export", check_checkpoint_export),
    Check("exports", check_exports),
    Check("zoo tests", check_zoo_tests),
)
