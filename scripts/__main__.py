"""Command line: `python -m scripts <verb>`. Arguments only, no logic; without a verb it lists all of them.

The verbs of this module work in a packed bundle; those of `research` in the repository only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

import fire
from fire.decorators import SetParseFns
from scripts.errors import InputError, report_input_errors
from scripts.switches import read_switch
from scripts.verbs import PROGRAM, describe_verb, describe_verbs, reject_unknown_option

#: Verbs before version 0.4.0, with the names that they have now.
RENAMED_VERBS = {
    "draw": "generate-synthetic",
    "corrections": "export-corrections",
    "lungs": "find-lungs",
    "score_lungs": "evaluate-lungs",
    "blend": "fit-none",
    "trust": "evaluate-reliability",
    "facts": "extract-metadata",
    "crossvalidate": "cross-validate",
    "ablation": "run-ablation",
    "experiments": "list-experiments",
    "losses": "plot-losses",
    "ensemble": "evaluate-ensemble",
    "ship": "export-weights",
    "export": "export-networks",
}


def prepare(
    tree: str,
    out: str,
    tables: str | None = None,
    num_folds: int = 5,
    seed: int = 0,
    workers: int = 2,
    accept_secondary_capture: bool = False,
    accept_renderings: bool = False,
    contradictions: str = "reject",
    format: str | None = None,
    label_map: str | None = None,
) -> str:
    """Read and check a tree of images and its tables; write datalist.json and decisions.csv.

    --format challenge, own, rsna, vindr, nih, coco or label: where the tables do not show it. --label_map FILE: a JSON
    with the meaning of each label of another data set.

    Example: python -m scripts prepare --tree runs/images --out runs/prepared
    """
    from scripts.preparation import prepare as prepare_datalist

    prepared = prepare_datalist(
        *(tree, out, tables, num_folds, seed, workers, accept_secondary_capture, accept_renderings),
        *(contradictions, format, label_map),
    )
    warning = "\nwarning: the headers of {} images contradict the tables' studies; see that table"
    decisions = ", ".join(f"{name} {count}" for name, count in prepared.num_decisions.items()) or "none"
    return (
        f"{prepared.num_training} images with label of {prepared.num_patients} patients, {prepared.num_test} without: "
        f"{prepared.datalist}\ndecisions ({decisions}): {prepared.decisions}"
        + (warning.format(prepared.num_contradictions) if prepared.num_contradictions else "")
        + ("" if prepared.num_training else "\nwarning: no image has a study class, so that none is trained on")
    )


def check(
    datalist: str,
    tree: str,
    external_tree: str | None = None,
    out: str | None = None,
    workers: int = 2,
    accept_secondary_capture: bool = False,
    accept_renderings: bool = False,
) -> str:
    """Read every image of a datalist before a long run: each must be there, whole, and the one that was prepared.

    Example: python -m scripts check --datalist runs/prepared/datalist.json --tree runs/images
    """
    from scripts.preparation import check_datalist

    checked = check_datalist(datalist, tree, external_tree, out, workers, accept_secondary_capture, accept_renderings)
    unknown = f"; {checked.num_without_digest} of them without a digest" if checked.num_without_digest else ""
    return f"{checked.num_images} images can be read and are as they were prepared{unknown}"


def export_corrections(studies: str, out: str) -> str:
    """Write what was saved in MONAI Label's folder of images as a CSV, which `prepare --tables` takes.

    Example: python -m scripts export-corrections --studies FOLDER --out corrections.csv
    """
    from scripts.monai_label import list_corrections

    listed = list_corrections(studies, out)
    return (
        f"{listed.num_images} images with a corrected mask, {listed.num_without_class} without a class: {listed.table}"
    )


def score(
    submission: str,
    ground_truth: str,
    fold: int | None = None,
    against: str | None = None,
    num_resamples: int = 1000,
    threshold: float | None = None,
) -> str:
    """Score a submission against a datalist or a folder of tables; --against another one for paired differences.

    Example: python -m scripts score runs/evaluation/submission.csv --ground_truth runs/prepared/datalist.json
        --fold 0
    """
    from scripts.metrics import report_score

    return report_score(submission, ground_truth, fold, against, num_resamples, threshold)


def export_weights(checkpoint: str, out: str = "bundle/models/model.pt") -> str:
    """Write the network of a training's checkpoint in half precision, with its SHA-256 beside it.

    Example: python -m scripts export-weights runs/training/last.pt --out runs/model.pt
    """
    from scripts.checkpoints import ship_weights

    ship_weights(checkpoint, out)
    return f"wrote {out} ({Path(out).stat().st_size / 1e6:.1f} MB)"


def export_networks(out: str, config: str = "bundle/configs/inference.json", **changes: object) -> str:
    """Write the three networks as TorchScript and ONNX, each compared with the eager one; --weights FILE and the like.

    ONNX is compared where onnxruntime is installed.

    Example: python -m scripts export-networks --out runs/exports
    """
    from scripts.exports import export_networks

    measured = export_networks(config, out, **changes)
    return f"wrote {', '.join(measured)} as .ts and .onnx, and how far they differ as exports.json: {out}"


def doctor(bundle: str | None = None) -> str:
    """Examine this machine: versions, GPU, decoders, weights, disk, threads; exit status 1 where one is wrong.

    Example: python -m scripts doctor
    """
    from scripts.doctor import describe, examine

    checks = examine(bundle or ("bundle" if Path("bundle/configs").is_dir() else "."))
    if any(check.state == "error" for check in checks):
        sys.stdout.write(f"{describe(checks)}\n")
        raise InputError("a machine without errors", "those above", "do what they say")
    return describe(checks)


HELP = frozenset({"--help", "-h", "help"})

#: Verbs in the order of the work; a packed bundle lists those that it has.
STAGES: dict[str, tuple[str, ...]] = {
    "Begin": ("doctor", "generate_synthetic"),
    "Prepare images": (
        *("prepare", "check", "find_lungs", "evaluate_lungs", "extract_metadata"),
        *("add_external", "label_external", "export_corrections"),
    ),
    "Train (one training: python -m monai.bundle run training --config_file bundle/configs/train.json)": (
        *("cross_validate", "run_ablation", "make_weights"),
        *("list_experiments", "plot_losses"),
    ),
    "Evaluate": ("score", "evaluate_reliability", "evaluate_ensemble", "fit_none", "report"),
    "Use": ("screen",),
    "Release": ("export_weights", "export_networks", "release"),
}

VERBS: tuple[Callable[..., str], ...] = (
    doctor,
    prepare,
    check,
    export_corrections,
    score,
    export_weights,
    export_networks,
)


def list_verbs() -> dict[str, Callable[..., str]]:
    """Verbs by name, as far as their modules are here: a packed bundle has no research verbs."""
    verbs = {verb.__name__: verb for verb in VERBS}
    if find_spec("scripts.research") is not None:
        from scripts import research

        verbs |= {verb.__name__: verb for verb in research.VERBS}
    return verbs


def keep_texts(verb: Callable[..., str]) -> Callable[..., str]:
    """The verb, whose options arrive as they are meant: fire takes a folder 20200315 for a number, and false for on.

    Raises:
        InputError: by the verb, where an option that is on or off is neither.
    """
    kinds = {name: each.annotation for name, each in signature(verb).parameters.items()}
    texts = {name: str for name, kind in kinds.items() if kind in ("str", "str | None")}
    switches = {name: partial(read_switch, name=name) for name, kind in kinds.items() if kind == "bool"}
    return SetParseFns(**texts, **switches)(verb)


def reject_unknown_verb(arguments: Sequence[str], verbs: Mapping[str, Callable[..., str]]) -> None:
    """Answer a verb's former name with the present one, and name the place of the verbs that are not packed.

    Raises:
        InputError: where the first argument is a name from before version 0.4.0, or no verb's.
    """
    first = arguments[0] if arguments else "help"
    name = first.replace("-", "_")
    if name in RENAMED_VERBS:
        new = RENAMED_VERBS[name]
        raise InputError(f"the verb {new}", f"{first}, its former name", f"run python -m scripts {new}")
    if first not in HELP and name not in verbs:
        packed = len(verbs) == len(VERBS)
        advice = "research verbs are not packed: use the bundle's repository" if packed else f"see {PROGRAM}"
        raise InputError(f"a verb: {', '.join(verbs).replace('_', '-')}", first, advice)


def describe_help(arguments: Sequence[str], verbs: Mapping[str, Callable[..., str]]) -> str:
    """The overview, or the help of a verb, where it is asked for; "" elsewhere."""
    asked = HELP.intersection(arguments[:2])
    if not arguments or arguments[0] in asked:
        return describe_verbs(verbs, STAGES)
    return describe_verb(verbs[arguments[0].replace("-", "_")]) if asked else ""


if __name__ == "__main__":
    report_input_errors()
    verbs = list_verbs()
    arguments = sys.argv[1:]
    reject_unknown_verb(arguments, verbs)
    if text := describe_help(arguments, verbs):
        sys.stdout.write(f"{text}\n")
    else:
        reject_unknown_option(verbs[arguments[0].replace("-", "_")], arguments[1:])
        fire.Fire({name: keep_texts(verb) for name, verb in verbs.items()}, name=PROGRAM)
