"""Benchmark of what the 17th-place solution reports: `python -m benchmarks.claims measure`, then `write`.

`measure` trains what is missing: overrides of a pretrained EfficientNet-Lite0, several seeds, one fold held out.
`write` gathers what is there, with the other benchmarks of this kind (`pseudo_labels`, `learning_curve`), into
bundle/docs/claims.json, and makes the page bundle/docs/claims.md from that file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scripts.bootstrap import Interval
from scripts.errors import InputError
from scripts.experiments import Difference, Plan, ablate, draw_differences, draw_losses
from scripts.experiments.combinations import parse_combination
from scripts.experiments.differences import pool_deviations, widen_interval
from scripts.experiments.registry import read_registry
from scripts.files import write_text
from scripts.run_records import BASELINE, DONE, Record, read_history
from scripts.tabulation import align_columns, format_interval, format_number
from scripts.verbs import list_values

from benchmarks.commandline import run_command
from benchmarks.learning_curve import list_rows, write_part

CONFIGS = Path("bundle/configs")
FIGURES, PAGE = Path("bundle/docs/claims.json"), Path("bundle/docs/claims.md")
REGISTRY, PICTURE = Path("bundle/docs/experiments.csv"), Path("bundle/docs/images/claims_gains.png")
CURVES = Path("bundle/docs/images/claims_losses.png")
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
        size: of the loss that it names, as a part of the score.
    """

    override: str
    change: str
    finding: str
    sign: int | None = None
    size: float = 0.0


#: Each is one override over the base.
CLAIMS = (
    Claim("no_auxiliary", "without the mask's loss", "the mask gives about 5 %", -1, 0.05),
    Claim("whole_image", "whole radiograph, no lung crop", "the crop gives about 4 %", -1, 0.04),
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
#: Standard deviation of one training, and its degrees of freedom.
Noise = tuple[float, int]


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
    figures["noise"] = gather_noise()
    write_text(FIGURES, json.dumps(figures, indent=1) + "\n")
    write_text(PAGE, make_page(figures))
    draw_claims(figures, PICTURE)
    if "overfit" in figures:
        draw_losses({title: [rows] for title, rows in figures["overfit"].items()}, CURVES)
    return str(PAGE)


def gather_losses(out: Path) -> dict[str, Any]:
    """Rows of history.json of both ends, by their title."""
    return {title: read_history(*sorted((out / row).iterdir())) for title, row in ENDS.items()}


def gather_noise(registry: Path = REGISTRY) -> dict[str, Noise]:
    """Standard deviation between finished trainings that differ by their seed or machine alone, and its freedom.

    Returns:
        of study mAP over the base, and from random weights; of validation / training loss.
    """
    records = [record for record in read_registry(registry) if record.status == DONE]
    pretrained = [record for record in records if record.name.split("+")[0] == BASE]
    random = [record for record in records if record not in pretrained]
    return {
        "pretrained": _pool_runs(pretrained, lambda record: record.metrics.get("study_map")),
        "random": _pool_runs(random, lambda record: record.metrics.get("study_map")),
        "ratio": _pool_runs(records, lambda record: record.loss_ratio),
    }


def _pool_runs(records: Sequence[Record], read: Callable[[Record], float | None]) -> Noise:
    samples: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        if (value := read(record)) is not None:
            same = (record.name, str(record.settings), record.held_out, record.datalist_hash)
            samples.setdefault(same, []).append(value)
    return pool_deviations(samples.values())


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
    costs, noise = figures.get("costs", {}), {name: tuple(each) for name, each in figures["noise"].items()}
    for name, head, describe in (
        ("overrides", _OVERRIDES, lambda content: describe_overrides(content, figures.get("again"), costs)),
        ("encoders", _ENCODERS, lambda content: describe_encoders(content, noise["random"])),
        ("overfit", _OVERFIT, lambda content: describe_losses(content, noise)),
        ("third", _THIRD, lambda content: describe_pseudo_labels(content, noise["pretrained"])),
        ("unlabelled", _UNLABELLED, lambda content: describe_pseudo_labels(content, noise["pretrained"])),
        ("curve", _CURVE, lambda content: describe_curve(content, noise["pretrained"])),
    ):
        parts += [head, describe(figures[name]) if name in figures else _NOT_RUN, ""]
    return "\n".join(parts)


def describe_overrides(first: Figures, again: Figures | None, costs: Mapping[str, float]) -> str:
    """All trainings of both series: the base's score, the noise, and a row for each claim."""
    return describe_ablation(_merge_overrides(first, again), BASE, CLAIMS, f"{BASE}+", costs)


def draw_claims(figures: Figures, path: Path) -> None:
    """Draw the table of overrides: differences from the base with the intervals of patients and noise."""
    merged = _merge_overrides(figures["overrides"], figures.get("again"))
    label = f"study mAP minus {BASE}\nbars: patients and noise between trainings, 95 %"
    draw_differences({each.combination.removeprefix(f"{BASE}+"): each for each in merged["differences"]}, label, path)


def _merge_overrides(first: Figures, again: Figures | None) -> dict[str, Any]:
    return merge_series([first, again] if again else [first], BASE)


def describe_encoders(content: Figures, noise: Noise) -> str:
    """As `describe_overrides`, with the noise of other trainings from random weights."""
    merged = merge_series([content], BASELINE, noise)
    return describe_ablation(merged, BASELINE, ENCODERS, "", {})


def describe_ablation(
    content: Figures, base_name: str, claims: Sequence[Claim], prefix: str, costs: Mapping[str, float]
) -> str:
    """The base's score, and a row for each claim, with its seconds an epoch over those of the base where known."""
    rows = {row["combination"]: row for row in content["rows"]}
    differences = {each.combination: each for each in content["differences"]}
    base = rows[base_name]
    score = Interval(**base["study_map"])
    header = ["change", "the solution", "trainings", "study mAP minus the base", "", "verdict", "epoch's time"]
    table = [header, ["---"] * len(header)]
    for claim in claims:
        name = f"{prefix}{claim.override}"
        start = [f"{claim.change} (`{claim.override}`)", claim.finding]
        if name not in differences:
            table.append([*start, "0", "not run yet", "", "", ""])
            continue
        found = differences[name].total
        figures = [str(len(rows[name]["scores"])), format_number(found.value, "+.4f"), format_interval(found, "+.4f")]
        verdict = evaluate_finding(claim.sign, found) if differences[name].freedom else "noise not measured"
        if claim.size and found.low > -claim.size * score.value:
            verdict = f"**contradicts**: less than {claim.size:.0%}".replace("%", " %")
        cost = f"x {costs[name] / costs[base_name]:.1f}" if name in costs else ""
        table.append([*start, *figures, verdict, cost])
    shown = len(header) if costs else len(header) - 1
    noise, freedom = content["noise"]
    count = len(base["scores"])
    return "\n".join(
        [
            f"The base: study mAP {format_number(score.value)} ({format_interval(score)}), "
            f"{f'mean of {count} trainings' if count > 1 else 'one training'}. The noise: standard deviation of one",
            f"training {noise:.4f} ({freedom} degrees of freedom).",
            "",
            *(f"| {' | '.join(cells[:shown])} |" for cells in table),
        ]
    )


def merge_series(series: Sequence[Figures], base_name: str, noise_of_others: Noise | None = None) -> dict[str, Any]:
    """One ablation of several whose trainings are the same but for seed and machine: each is a sample of its row.

    The sample of patients is that of the last series with the row.

    Args:
        series: contents of ablation.json.
        base_name: the combination that the others are compared with.
        noise_of_others: standard deviation of one training and its degrees of freedom; pooled over these rows if None.

    Returns:
        rows of combination, study_map and scores; differences from the base; the noise.
    """
    rows = {row["combination"]: row for content in series for row in content["rows"]}
    scores = {name: [score for content in series for score in _list_scores(content, name)] for name in rows}
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    noise, freedom = noise_of_others or pool_deviations(scores.values())
    patients = {
        each["combination"]: Interval(**each["patients"])
        for content in series
        for each in content["differences"]
        if each["other"] == base_name
    }
    differences = []
    for name, sample in patients.items():
        around = _move_interval(sample, means[name] - means[base_name])
        error = noise * math.sqrt(1 / len(scores[name]) + 1 / len(scores[base_name]))
        differences.append(Difference(name, base_name, around, widen_interval(around, error, freedom), freedom))
    merged = [
        {
            "combination": name,
            "study_map": asdict(_move_interval(Interval(**row["study_map"]), means[name])),
            "scores": scores[name],
        }
        for name, row in rows.items()
    ]
    return {"rows": merged, "differences": differences, "noise": [noise, freedom]}


def _list_scores(content: Figures, name: str) -> list[float]:
    return [score for row in content["rows"] if row["combination"] == name for score in row["seeds"].values()]


def _move_interval(interval: Interval, value: float) -> Interval:
    """An interval of the same width about another value."""
    return Interval(value, value + interval.low - interval.value, value + interval.high - interval.value)


def describe_losses(content: Figures, noise: Mapping[str, Noise]) -> str:
    """Validation loss over training loss of both ends, where each was validated, and how far noise moves them."""
    validated = {title: [row for row in rows if "validation_loss" in row] for title, rows in content.items()}
    epochs = [row["epoch"] for row in next(iter(validated.values()))]
    lines = [f"| epoch | {' | '.join(map(str, epochs))} |", "|---" * (len(epochs) + 1) + "|"]
    for title, rows in validated.items():
        ratios = [f"{row['validation_loss'] / row['train_loss']:.2f}" for row in rows]
        lines.append(f"| validation / training loss, {title} | {' | '.join(ratios)} |")
        lines.append(f"| study mAP, {title} | {' | '.join(format_number(row['study_map']) for row in rows)} |")
    halves = [f"{name} {_find_half(noise[key]):.3f}" for name, key in (("ratio", "ratio"), ("study mAP", "pretrained"))]
    lines += ["", f"Half of the 95 % interval by the noise between trainings of 4 epochs: {', '.join(halves)}."]
    return "\n".join(lines)


def _find_half(noise: Noise) -> float:
    deviation, freedom = noise
    return float(stats.t.ppf(0.975, freedom)) * deviation


def describe_pseudo_labels(content: Figures, noise: Noise) -> str:
    """Scores and gains of each kind of label on each scored set, and how good the labels are where that is known.

    Gains of one training each are widened by `noise`; where two sets are compared, by that of both.
    """
    rows = content["rows"]
    sets = list(next(iter(rows.values()))["study_map"])
    gained = list(list(rows.values())[-1]["gains"])
    header = ["labels", *(f"study mAP, {name}" for name in sets), *(f"gain, {name}" for name in gained)]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for label, row in rows.items():
        scores = [format_number(row["study_map"][name]["value"]) for name in sets]
        found = [_widen_gain(name, Interval(**gain), content, noise) for name, gain in row["gains"].items()]
        gains = [f"{format_number(each.value, '+.4f')} ({format_interval(each, '+.4f')})" for each in found]
        lines.append(f"| {label} | {' | '.join([*scores, *gains, *[''] * (len(gained) - len(gains))])} |")
    seeds = len(next(iter(rows[next(iter(rows))]["seeds"].values())))
    measured = all(freedom for _, freedom in content["between_seeds"].values())
    lines += ["", f"Seeds: {seeds}; {_name_noise(measured)}."]
    if content["labels"]:
        quality = [
            f"{name} {format_number(each['value'])} ({format_interval(Interval(**each))})"
            for name, each in content["labels"].items()
        ]
        lines += ["Study mAP of the labels themselves, by the readers':", f"{'; '.join(quality)}."]
    return "\n".join(lines)


def _widen_gain(name: str, gain: Interval, content: Figures, noise: Noise) -> Interval:
    deviation, freedom = noise
    if any(freedom for _, freedom in content["between_seeds"].values()):
        return gain
    trainings = 2 if name in content["between_seeds"] else 4
    return widen_interval(gain, deviation * math.sqrt(trainings), freedom)


def _name_noise(measured: bool) -> str:
    source = "them" if measured else "other trainings of the same budget"
    return f"the intervals hold the noise between {source}"


def describe_curve(content: Sequence[Figures], noise: Noise) -> str:
    """Both scores at each number of patients, the gain, and what it is worth in data.

    A gain of one training each is widened by `noise`.
    """
    measured = all(point["differences"][0]["freedom"] for point in content)
    header, *rows = list_rows(content if measured else [_widen_point(point, noise) for point in content])
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    seeds = len(content[0]["rows"][0]["seeds"])
    lines += ["", f"Seeds: {seeds}; {_name_noise(measured)}."]
    return "\n".join(lines)


def _widen_point(point: Figures, noise: Noise) -> dict[str, Any]:
    deviation, freedom = noise
    (difference,) = point["differences"]
    total = widen_interval(Interval(**difference["patients"]), deviation * math.sqrt(2), freedom)
    return {**point, "differences": [{**difference, "total": asdict(total)}]}


def evaluate_finding(sign: int | None, found: Interval) -> str:
    """Evaluate a finding of this sign by a measured interval: agreement, contradiction, or nothing."""
    measured = 1 if found.low > 0 else -1 if found.high < 0 else 0
    if sign is None:
        return {1: "better", 0: "not resolved", -1: "worse"}[measured]
    if sign == 0:
        return {1: "**contradicts**: better", 0: "no gain shown", -1: "agrees: worse"}[measured]
    return {0: "not resolved", sign: "agrees", -sign: "**contradicts**"}[measured]


_HEAD = """# Claims of the 17th-place solution

The solution reports what helped and what did not, without intervals. Here each is an override in `configs/experiments`,
measured over a base, and reported with its noise. The page is made from [claims.json](claims.json) by
`python -m benchmarks.claims write`; every run stands in [experiments.csv](experiments.csv).

Siim-covid19-256, fold 0 held out (1,010 studies of 551 patients), 128 px, 4 epochs, TTA by horizontal flip, on an
AMD EPYC where no other machine is named. Intervals of 95 %: paired bootstrap of patients, widened by the noise between
trainings, which is pooled over all rows of a table. Verdicts are said of this base and budget only: what needs more
epochs, more pixels or a larger network may do otherwise there.
"""

_OVERRIDES = """## What helped, and what did not

    python -m benchmarks.claims measure --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims costs --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims write --again runs/claims --costs runs/claims_costs
    python -m scripts list-experiments runs/claims --out runs/registry

Over EfficientNet-Lite0 with ImageNet weights, lung crop, mask's loss of weight 10, label smoothing 0.1. Trainings of
two series together: seeds 0 and 1 on an AMD EPYC; seed 0 again on an NVIDIA H200, in bfloat16, and further seeds on an
Intel Xeon. Two trainings of one seed on two machines differ as two seeds do. An epoch's time is that of one thread on
an eighth of the patients beside other work, whose noise is a tenth; Just Train Twice takes two trainings.

![Gain of each override with its interval](images/claims_gains.png)
"""

_ENCODERS = """## Encoders

    python -m benchmarks.claims encoders --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims write --encoders runs/claims_encoders

`efficientnet_b3` and `swin` in place of EfficientNetV2-B0, all from random weights, on an Intel Xeon. The noise
is that of the [ablation](results.md)'s trainings from random weights, of other settings and three seeds each. Swin with
pretrained weights was not measured: a machine without a connection has none.
"""

_OVERFIT = """## Overfitting

    python -m benchmarks.claims overfit --tree DATA --datalist runs/siim/datalist.json --cache_dir runs/cache
    python -m benchmarks.claims write --overfit runs/claims_overfit

The solution: crop and mask together lower validation / training loss from 1.16 to 1.07. Here both ends of a schedule of
24 epochs, one seed, on an NVIDIA H200, whose time was over after 12 of them. The losses of the two have other terms, so
each is compared with itself. The ratio of fewer patients over more epochs stands under "How much data".

![Training and validation loss of both ends](images/claims_losses.png)
"""

_THIRD = """## Pseudo-labels: does a leak show?

    python -m benchmarks.pseudo_labels third --tree DATA --datalist runs/siim/datalist.json --base imagenet_lite0 \\
        --seeds 0,1,2 --image_size 128 --cache_dir runs/cache --out runs/pseudo_labels_third
    python -m benchmarks.claims write --third runs/pseudo_labels_third

The solution: pseudo-labels did not help; its labels were the mean of five folds' models, in every fold. Here a third of
the patients hides its labels and plays the external images. Honest labels come from the one model that held fold 0 out,
leaking ones from the mean of all. A leak would lift fold 0 more than images that no model ever saw.
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
