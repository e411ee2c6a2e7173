"""Benchmark of what the 17th-place solution reports: `python -m benchmarks.claims measure`, then `write`.

`measure` trains what is missing: overrides of a pretrained EfficientNet-Lite0, several seeds, one fold held out.
`write` gathers what is there, with the other benchmarks of this kind (`pseudo_labels`, `learning_curve`), into
bundle/docs/claims.json, and makes the page bundle/docs/claims.md from that file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scripts.bootstrap import Interval
from scripts.errors import InputError
from scripts.experiments import Plan, ablate, draw_losses
from scripts.experiments.combinations import parse_combination
from scripts.experiments.differences import widen_interval
from scripts.files import write_text
from scripts.run_records import BASELINE, read_history
from scripts.tabulation import align_columns, format_interval, format_number
from scripts.verbs import list_values

from benchmarks.commandline import run_command
from benchmarks.learning_curve import list_rows, write_part

CONFIGS = Path("bundle/configs")
FIGURES, PAGE = Path("bundle/docs/claims.json"), Path("bundle/docs/claims.md")
BASE, TWICE = "imagenet_lite0", "just_train_twice"


@dataclass(frozen=True)
class Claim:
    """A change by an override, and the solution's finding of it.

    Args:
        override: in configs/experiments.
        change: in words.
        finding: the solution's own.
        sign: of the difference that its finding means for the override: 1, -1, 0 where it gained nothing there; None
            where it says nothing that could be tested so.
    """

    override: str
    change: str
    finding: str
    sign: int | None = None


#: Each is one override over the base.
CLAIMS = (
    Claim("no_auxiliary", "without the mask's loss", "the mask gives about 5 %", -1),
    Claim("whole_image", "whole radiograph, no lung crop", "the crop gives about 4 %", -1),
    Claim("auxiliary_low_resolution", "mask of 32 x 32 from an inner block", "its first form, worse", -1),
    Claim("auxiliary_dice", "Dice for the mask", "an option, in its ensemble"),
    Claim("auxiliary_bce_dice", "cross entropy and Dice for the mask", "in its ensemble"),
    Claim("lovasz", "Lovasz loss for the mask", "did not help", 0),
    Claim("label_smoothing_off", "no label smoothing", "smoothing helped", -1),
    Claim("focal", "focal loss", "did not help", 0),
    Claim("bi_tempered", "bi-tempered softmax and loss", "did not help", 0),
    Claim("mixup", "mixup", "did not help", 0),
    Claim("cutmix", "CutMix", "did not help", 0),
    Claim("random_erasing", "random erasing", "did not help", 0),
    Claim("weight_by_images", "weight 1 / images of the study", "did not help", 0),
    Claim(TWICE, "Just Train Twice: two trainings", "did not help", 0),
    Claim("seventeenth_place_recipe", "its SGD and its augmentations", "its own recipe"),
    Claim("ema", "moving average of the weights", "not tried"),
)

#: Encoders from random weights, each in place of EfficientNetV2-B0.
ENCODERS = (
    Claim("efficientnet_b3", "EfficientNet-B3", "EfficientNetV2-L is better", -1),
    Claim("swin", "Swin Transformer, tiny", "did not help", 0),
)

#: Both ends of the solution's steps, trained until they overfit.
ENDS = {"whole radiograph, no mask": f"{BASE}+whole_image+no_auxiliary", "crop and mask": BASE}

Figures = Mapping[str, Any]


def measure(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/claims",
    overrides: str | Sequence[str] = tuple(claim.override for claim in CLAIMS),
    seeds: int | Sequence[int] = (0, 1, 2),
    image_size: int = 128,
    epochs: int = 4,
    slots: int = 1,
    finished: bool = False,
    **options: Any,
) -> str:
    """Train what is missing and compare; a run that is there already is not repeated.

    Args:
        datalist, tree: of `python -m scripts prepare`, and its images.
        out: folder of everything.
        overrides: of `CLAIMS`, all by default.
        seeds: of the trainings.
        image_size, epochs, options: of every training.
        slots: trainings at a time.
        finished: train nothing, and compare what is done; rows may have more seeds than others.
    """
    chosen, numbers = list_values(overrides), list_values(seeds)
    plan = _plan(datalist, tree, {**options, "image_size": image_size}, epochs).side_by_side(slots)
    if TWICE in chosen and not finished:
        plan.make_all([partial(_train_twice, plan, Path(out), seed) for seed in numbers])
    rows = [BASE, *(f"{BASE}+{name}" for name in chosen)]
    return ablate(plan, Path(out), rows, (0,), numbers, finished=finished)


def encoders(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/claims_encoders",
    seeds: int | Sequence[int] = (0, 1, 2),
    image_size: int = 128,
    epochs: int = 4,
    slots: int = 1,
    finished: bool = False,
    **options: Any,
) -> str:
    """Train `ENCODERS` and train.json's own from random weights, and compare; arguments as for `measure`."""
    plan = _plan(datalist, tree, {**options, "image_size": image_size}, epochs).side_by_side(slots)
    rows = [BASELINE, *(claim.override for claim in ENCODERS)]
    return ablate(plan, Path(out), rows, (0,), list_values(seeds), finished=finished)


def costs(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/claims_costs",
    image_size: int = 128,
    part: float = 0.125,
    epochs: int = 3,
    **options: Any,
) -> str:
    """Time an epoch of the base and of each override, one after the other on a machine with nothing else to do.

    Just Train Twice is left out: it is two trainings of the base.

    Args:
        datalist, tree, out, image_size, options: as for `measure`.
        part: of the training patients.
        epochs: of each; the shortest is taken.
    """
    few = Path(out) / "datalist.json"
    write_part(datalist, few, part, 0)
    plan = Plan(few, Path(tree), {**options, "image_size": image_size, "epochs": epochs, "val_interval": epochs + 1})
    rows = [BASE, *(f"{BASE}+{claim.override}" for claim in CLAIMS if claim.override != TWICE)]
    seconds = {}
    for name in rows:
        folder = Path(out) / name
        plan.train(parse_combination(name, CONFIGS).list_files(CONFIGS), folder, 0, 0)
        seconds[name] = min(each["seconds"] for each in read_history(folder))
    write_text(Path(out) / "costs.json", json.dumps(seconds, indent=1) + "\n")
    return align_columns(("row", "seconds an epoch"), [(name, f"{value:.1f}") for name, value in seconds.items()])


def overfit(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/claims_overfit",
    seed: int = 0,
    image_size: int = 128,
    epochs: int = 24,
    slots: int = 1,
    **options: Any,
) -> str:
    """Train both ends long enough to overfit, and draw their losses; arguments as for `measure`."""
    shared = {**options, "image_size": image_size, "epochs": epochs, "val_interval": 2}
    plan = Plan(Path(datalist), Path(tree), shared).side_by_side(slots)
    ablate(plan, Path(out), list(ENDS.values()), (0,), [seed])
    histories = {title: [read_history(Path(out) / row / f"seed{seed}")] for title, row in ENDS.items()}
    draw_losses(histories, Path(out) / "losses.png")
    return str(Path(out) / "losses.png")


def _plan(datalist: str, tree: str, options: Mapping[str, Any], epochs: int) -> Plan:
    return Plan(Path(datalist), Path(tree), {**options, "epochs": epochs, "val_interval": epochs})


def _train_twice(plan: Plan, out: Path, seed: int) -> None:
    """The base's own run predicts its training images; their mistakes weigh more in a second one."""
    base = [str(CONFIGS / "train.json"), str(CONFIGS / "experiments" / f"{BASE}.json")]
    weights = plan.train(base, out / BASE / f"seed{seed}", 0, seed)
    first = weights.parent / "train"
    plan.with_options({"val_datalist": "@train_datalist"}).evaluate_fold(base, weights, first, 0)
    files = [*base, str(CONFIGS / "experiments" / f"{TWICE}.json")]
    plan.with_options({"first_run": first}).train(files, out / f"{BASE}+{TWICE}" / f"seed{seed}", 0, seed)


def write(**folders: str) -> str:
    """Gather the figures of finished benchmarks into claims.json, and make the page; what is not named stays.

    Args:
        folders: `--overrides`, `--again` (the same trainings on another machine) and `--encoders` of an ablation,
            `--costs`, `--overfit`, `--third` and `--unlabelled` of `benchmarks.pseudo_labels`, `--curve` of
            `benchmarks.learning_curve`.

    Raises:
        InputError: where another one is named, or one holds no figures.
    """
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}
    for name, folder in folders.items():
        if name not in GATHERED:
            raise InputError(f"folders of {', '.join(GATHERED)}", repr(name), "correct the option")
        figures[name] = GATHERED[name](Path(folder))
    write_text(FIGURES, json.dumps(figures, indent=1) + "\n")
    write_text(PAGE, make_page(figures))
    return str(PAGE)


def gather_losses(out: Path) -> dict[str, Any]:
    """Rows of history.json of both ends, by their title."""
    return {title: read_history(*sorted((out / row).iterdir())) for title, row in ENDS.items()}


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"a {path.name} of a finished benchmark", f"none in {path.parent}", "let it end first")
    return json.loads(path.read_text(encoding="utf-8"))


#: How the figures of each part are gathered from its folder.
GATHERED: Mapping[str, Callable[[Path], Any]] = {
    "overrides": lambda folder: _read_json(folder / "ablation.json"),
    "again": lambda folder: _read_json(folder / "ablation.json"),
    "costs": lambda folder: _read_json(folder / "costs.json"),
    "encoders": lambda folder: _read_json(folder / "ablation.json"),
    "overfit": gather_losses,
    "third": lambda folder: _read_json(folder / "table.json"),
    "unlabelled": lambda folder: _read_json(folder / "table.json"),
    "curve": lambda folder: _read_json(folder / "curve.json"),
}


def make_page(figures: Figures) -> str:
    """bundle/docs/claims.md, whose every figure stands in claims.json."""
    parts = [_HEAD]
    costs = figures.get("costs", {})
    for name, head, describe in (
        ("overrides", _OVERRIDES, lambda content: describe_ablation(content, BASE, CLAIMS, f"{BASE}+", costs)),
        ("again", _AGAIN, lambda content: describe_repetition(figures["overrides"], content)),
        ("encoders", _ENCODERS, lambda content: describe_ablation(content, BASELINE, ENCODERS, "", {})),
        ("overfit", _OVERFIT, describe_losses),
        ("third", _THIRD, describe_pseudo_labels),
        ("unlabelled", _UNLABELLED, describe_pseudo_labels),
        ("curve", _CURVE, describe_curve),
    ):
        parts += [head, describe(figures[name]) if name in figures else _NOT_RUN, ""]
    return "\n".join(parts)


def describe_ablation(
    content: Figures, base_name: str, claims: Sequence[Claim], prefix: str, costs: Mapping[str, float]
) -> str:
    """The base's score, and a row for each claim, with its seconds an epoch over those of the base where known."""
    rows = {row["combination"]: row for row in content["rows"]}
    differences = {each["combination"]: each for each in content["differences"] if each["other"] == base_name}
    base = rows[base_name]
    score = Interval(**base["study_map"])
    header = ["change", "the solution", "seeds", "study mAP minus the base", "", "verdict", "epoch's time"]
    table = [header, ["---"] * len(header)]
    for claim in claims:
        name = f"{prefix}{claim.override}"
        start = [f"{claim.change} (`{claim.override}`)", claim.finding]
        if name not in differences:
            table.append([*start, "0", "not run yet", "", "", ""])
            continue
        found = Interval(**differences[name]["total"])
        figures = [str(len(rows[name]["seeds"])), format_number(found.value, "+.4f"), format_interval(found, "+.4f")]
        verdict = evaluate_finding(claim.sign, found) if differences[name]["freedom"] else "noise not measured"
        cost = f"x {costs[name] / costs[base_name]:.2f}" if name in costs else ""
        table.append([*start, *figures, verdict, cost])
    shown = len(header) if costs else len(header) - 1
    return "\n".join(
        [
            f"The base: study mAP {format_number(score.value)} ({format_interval(score)}), {_count_seeds(base)}.",
            "",
            *(f"| {' | '.join(cells[:shown])} |" for cells in table),
        ]
    )


def describe_repetition(first: Figures, again: Figures) -> str:
    """Differences from the base in two trainings each of seed 0, their mean, and the noise that the two show.

    What moves all rows alike, such as precision, is taken out of the noise. The sample of patients is that of `again`.
    """
    scores = [{row["combination"]: row["seeds"]["0"] for row in content["rows"]} for content in (first, again)]
    shared = [name for name in scores[1] if name in scores[0]]
    moved = [scores[1][name] - scores[0][name] for name in shared]
    noise, freedom = float(np.std(moved, ddof=1)) / math.sqrt(2), len(shared) - 1
    patients = {each["combination"]: Interval(**each["patients"]) for each in again["differences"]}
    lines = ["| change | first | again | mean | patients and noise | verdict |", "|---|---|---|---|---|---|"]
    for claim in CLAIMS:
        name = f"{BASE}+{claim.override}"
        if name not in shared:
            continue
        both = [each[name] - each[BASE] for each in scores]
        middle, sample = sum(both) / 2, patients[name]
        around = Interval(middle, middle + sample.low - sample.value, middle + sample.high - sample.value)
        found = widen_interval(around, noise, freedom)
        cells = [format_number(value, "+.4f") for value in (*both, middle)]
        verdict = evaluate_finding(claim.sign, found)
        lines.append(f"| `{claim.override}` | {' | '.join(cells)} | {format_interval(found, '+.4f')} | {verdict} |")
    base = " and ".join(format_number(each[BASE]) for each in scores)
    noise_of = f"standard deviation of one training {noise:.4f} ({freedom} degrees of freedom)"
    return "\n".join([f"The base: {base}. The noise between the two: {noise_of}.", "", *lines])


def _count_seeds(row: Figures) -> str:
    count = len(row["seeds"])
    return f"mean of {count} seeds" if count > 1 else "one seed"


def describe_losses(content: Figures) -> str:
    """Validation loss over training loss of both ends, where each was validated."""
    validated = {title: [row for row in rows if "validation_loss" in row] for title, rows in content.items()}
    epochs = [row["epoch"] for row in next(iter(validated.values()))]
    lines = [f"| epoch | {' | '.join(map(str, epochs))} |", "|---" * (len(epochs) + 1) + "|"]
    for title, rows in validated.items():
        ratios = [f"{row['validation_loss'] / row['train_loss']:.2f}" for row in rows]
        lines.append(f"| validation / training loss, {title} | {' | '.join(ratios)} |")
        lines.append(f"| study mAP, {title} | {' | '.join(format_number(row['study_map']) for row in rows)} |")
    return "\n".join(lines)


def describe_pseudo_labels(content: Figures) -> str:
    """Scores and gains of each kind of label on each scored set, and how good the labels are where that is known."""
    rows = content["rows"]
    sets = list(next(iter(rows.values()))["study_map"])
    gained = list(list(rows.values())[-1]["gains"])
    header = ["labels", *(f"study mAP, {name}" for name in sets), *(f"gain, {name}" for name in gained)]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for label, row in rows.items():
        scores = [format_number(row["study_map"][name]["value"]) for name in sets]
        found = [Interval(**gain) for gain in row["gains"].values()]
        gains = [f"{format_number(each.value, '+.4f')} ({format_interval(each, '+.4f')})" for each in found]
        lines.append(f"| {label} | {' | '.join([*scores, *gains, *[''] * (len(gained) - len(gains))])} |")
    noise = [f"{name} {deviation:.4f}" for name, (deviation, freedom) in content["between_seeds"].items() if freedom]
    seeds = len(next(iter(rows[next(iter(rows))]["seeds"].values())))
    spread = (
        f"standard deviation between them: {', '.join(noise)}" if noise else "the noise between them is not measured"
    )
    lines += ["", f"Seeds: {seeds}; {spread}."]
    if content["labels"]:
        quality = [
            f"{name} {format_number(each['value'])} ({format_interval(Interval(**each))})"
            for name, each in content["labels"].items()
        ]
        lines += ["Study mAP of the labels themselves, by the readers':", f"{'; '.join(quality)}."]
    return "\n".join(lines)


def describe_curve(content: Sequence[Figures]) -> str:
    """Both scores at each number of patients, the gain, and what it is worth in data."""
    header, *rows = list_rows(content)
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    seeds = len(content[0]["rows"][0]["seeds"])
    measured = all(point["differences"][0]["freedom"] for point in content)
    lines += ["", f"Seeds: {seeds}; the noise between them is {'in the intervals' if measured else 'not measured'}."]
    return "\n".join(lines)


def evaluate_finding(sign: int | None, found: Interval) -> str:
    """Evaluate a finding of this sign by a measured interval: agreement, contradiction, or nothing."""
    measured = 1 if found.low > 0 else -1 if found.high < 0 else 0
    if sign is None:
        return {1: "better", 0: "not resolved", -1: "worse"}[measured]
    if sign == 0:
        return {1: "**contradicts**: better", 0: "agrees: no gain", -1: "agrees: worse"}[measured]
    return {0: "not resolved", sign: "agrees", -sign: "**contradicts**"}[measured]


_HEAD = """# Claims of the 17th-place solution

The solution reports what helped and what did not, without intervals. Here each is an override in `configs/experiments`,
measured over a base, and told with its noise. The page is made from [claims.json](claims.json) by
`python -m benchmarks.claims write`; every run stands in [experiments.csv](experiments.csv).

Siim-covid19 at 256 px, fold 0 held out (1,010 studies of 551 patients), 128 px, 4 epochs, TTA by horizontal flip, on an
AMD EPYC. Intervals of 95 %: paired bootstrap of patients, widened by the noise between seeds, which is pooled over all
rows of a table. Verdicts are said of this base and budget only: what needs more epochs, more pixels or a larger network
may do otherwise there.
"""

_OVERRIDES = """## What helped, and what did not

    python -m benchmarks.claims measure --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims costs --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims write --overrides runs/claims --costs runs/claims_costs
    python -m scripts list-experiments runs/claims --out runs/registry

Over EfficientNet-Lite0 with ImageNet weights, lung crop, mask's loss of weight 10, label smoothing 0.1.

![Gain of each override beside the noise between seeds](images/claims_gains.png)

In the picture the bars hold the noise between seeds alone, in the table the sample of patients as well.
"""

_AGAIN = """## Again, on another machine

    python -m benchmarks.claims measure --seeds 0 --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims write --again runs/claims

The same trainings of seed 0 on an NVIDIA H200, in bfloat16; ten changes, and the base. "First" is seed 0 of the table
above. Two trainings of one seed on two machines differ as two seeds do, and by more than the few second seeds above
show.
"""

_ENCODERS = """## Encoders

    python -m benchmarks.claims encoders --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims write --encoders runs/claims_encoders

`efficientnet_b3` and `swin` in place of EfficientNetV2-B0, all from random weights.
"""

_OVERFIT = """## Overfitting

    python -m benchmarks.claims overfit --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims write --overfit runs/claims_overfit

The solution: crop and mask together lower validation / training loss from 1.16 to 1.07. Here both ends of a schedule of
24 epochs, one seed, on an NVIDIA H200, whose time was over after 12 of them. The losses of the two have other terms, so
each is compared with itself. The ratio of fewer patients over more epochs stands under "How much data".
"""

_THIRD = """## Pseudo-labels: the leak, shown

    python -m benchmarks.pseudo_labels third --tree DATA --datalist runs/siim/datalist.json --base imagenet_lite0 \\
        --seeds 0,1,2 --image_size 128 --cache_dir runs/cache --out runs/pseudo_labels_third
    python -m benchmarks.claims write --third runs/pseudo_labels_third

The solution: pseudo-labels did not help; its labels were the mean of five folds' models, in every fold. Here a third of
the patients hides its labels and plays the external images. Honest labels come from the one model that held fold 0 out,
leaking ones from the mean of all. A leak lifts fold 0 more than images that no model ever saw.
"""

_UNLABELLED = """## Pseudo-labels on real unlabelled images

    python -m benchmarks.pseudo_labels unlabelled --joined runs/joined/datalist.json \\
        --external runs/external/datalist.json --external_tree UNLABELLED --tree DATA \\
        --datalist runs/siim/datalist.json --base imagenet_lite0 --seeds 0,1,2 --image_size 128 \\
        --cache_dir runs/cache --out runs/pseudo_labels_unlabelled
    python -m benchmarks.claims write --unlabelled runs/pseudo_labels_unlabelled

1,263 images of 652 other patients. Honest labels come from the network that held fold 0 out, leaking ones from the mean
of all five. What the three students of as many steps predict for the images without labels, which none of them saw,
stands in `submissions/test_pseudo_none.csv`, `test_pseudo_honest.csv` and `test_pseudo_leaking.csv`: whoever holds
those labels sees what of the gain on fold 0 is a leak.
"""

_CURVE = """## How much data

    python -m benchmarks.learning_curve --tree DATA --datalist runs/siim/datalist.json --base imagenet_lite0 \\
        --image_size 128 --epochs 4 --cache_dir runs/cache --out runs/learning_curve
    python -m benchmarks.claims write --curve runs/learning_curve

Parts of the training patients, in as many steps each, whole radiograph without mask against lung crop with it. "Times
the data": by what factor the former would need more patients to be as good. The latter's loss holds the mask's, too.
"""

_NOT_RUN = "Not run yet. Reason: time on two cores; a training of this budget takes ten minutes."


if __name__ == "__main__":
    run_command(
        {"measure": measure, "costs": costs, "encoders": encoders, "overfit": overfit, "write": write},
        "benchmarks.claims",
    )
