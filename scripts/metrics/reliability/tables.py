"""Tables of the reliability report."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.bootstrap import Interval
from scripts.labels import STUDY_CLASSES
from scripts.metrics.calibration import BRIER, CLASS_ECE, ECE, NLL, NUM_BINS, TemperatureFit
from scripts.metrics.reliability.assessment import KEPT_BY, ORACLE, RANDOM, Calibration, Selection
from scripts.metrics.reliability.gathering import EvaluatedImages
from scripts.metrics.scores import STUDY_MAP
from scripts.metrics.selective import ENTROPY, LEAST_CONFIDENCE, MUTUAL_INFORMATION
from scripts.metrics.studies import ACCURACY, AUROC, EvaluatedStudies
from scripts.metrics.subgroups import MEASURES, MIN_OF_CLASS, MIN_STUDIES, Subgroup, count_differences
from scripts.tabulation import align_columns, evaluate_difference, format_interval, format_number

#: What a person reads for each figure.
TITLES: dict[str, str] = {
    ECE: f"ECE, top class, {NUM_BINS} bins of equal mass",
    CLASS_ECE: "ECE, mean over the classes",
    BRIER: "Brier score, 0 to 2",
    NLL: "negative log likelihood, nats",
    STUDY_MAP: "study mAP",
    AUROC: "AUROC, negative against any",
    LEAST_CONFIDENCE: "1 - highest probability",
    ENTROPY: "entropy",
    MUTUAL_INFORMATION: "mutual information",
    RANDOM: "random order",
    ORACLE: "oracle, every mistake first",
}

TOO_FEW = "too few"

#: Heading over studies of each class.
CLASSES = "/".join(name[:3] for name in STUDY_CLASSES)


def describe_task(images: EvaluatedImages, studies: EvaluatedStudies, ground_truth: str, num_resamples: int) -> str:
    """Describe the evaluated predictions and their intervals."""
    where = ground_truth if images.folds == (None,) else f"{ground_truth}, fold {', '.join(map(str, images.folds))}"
    members = f"; {len(images.members)} members" if len(images.members) > 1 else ""
    return (
        f"{where}: {len(studies)} studies, {len(images.probabilities)} images, {studies.num_groups} patients{members}\n"
        f"95 % intervals from {num_resamples} bootstrap resamples of patients; differences are paired"
    )


def tabulate_calibration(evaluated: Calibration) -> str:
    """Errors and scores before and after the temperature."""
    rows = [
        (
            TITLES[name],
            *_format(evaluated.before[name]),
            *_format(evaluated.after[name]),
            *_format(evaluated.improvement[name], "+.4f"),
            evaluate_difference(evaluated.improvement[name]),
        )
        for name in evaluated.before
    ]
    header = ("calibration", "before", "95 % interval", "after", "95 % interval", "improvement", "95 % interval", "")
    fit, chance = evaluated.fit, evaluated.by_chance
    parts = ", ".join(f"{temperature:.3f}" for temperature in fit.part_temperatures)
    lines = [
        align_columns(header, rows),
        _describe_temperature(fit),
        f"after: every patient by the temperature of the others ({parts})",
        f"an ECE is never 0: probabilities that are exactly right show {chance[ECE]:.4f} (top class), "
        f"{chance[CLASS_ECE]:.4f} (classes)",
        "on so many studies; its intervals are centred, because resampling adds noise that only makes it larger",
    ]
    return "\n".join(lines)


def _describe_temperature(fit: TemperatureFit) -> str:
    if fit.at_limit:
        return f"temperature fitted on all studies: none; the search ended at its limit, {fit.temperature:.3f}"
    return f"temperature fitted on all studies, for new images: {fit.temperature:.3f}"


def tabulate_selection(evaluated: Selection) -> str:
    """Areas under the risk-coverage curves, and the scores of what is kept."""
    areas = [
        (name_order(name), *_format(area), *_format_gain(evaluated.gains.get(name)))
        for name, area in evaluated.areas.items()
    ]
    kept = [
        (
            f"{coverage:.0%}",
            _join(evaluated.num_of_class[coverage]),
            *_format(scores[ACCURACY]),
            *_format(scores[STUDY_MAP]),
        )
        for coverage, scores in evaluated.kept.items()
    ]
    area = ("area under risk-coverage (low: good)", "value", "95 % interval", "below random", "95 % interval", "")
    header = (f"answered, by {TITLES[KEPT_BY]}", CLASSES, "accuracy", "95 % interval", "study mAP", "95 % interval")
    return f"{align_columns(area, areas)}\n\n{align_columns(header, kept)}"


def tabulate_subgroups(subgroups: Sequence[Subgroup]) -> str:
    """Each subgroup beside all other studies, and a warning with the number of comparisons."""
    blocks = [
        align_columns(
            ("subgroup", CLASSES, TITLES[measure].split(",")[0], "95 % interval", "minus rest", "95 % interval", ""),
            [_format_subgroup(each, measure) for each in subgroups],
        )
        for measure in MEASURES
    ]
    measured, resolved = count_differences(subgroups)
    by_chance = (
        f"\nWARNING: {measured} differences were measured, {resolved} of them resolved; where nothing differs, "
        f"about {measured / 20:.1f} would be by chance alone"
    )
    blocks.append(
        f"{TOO_FEW}: below {MIN_STUDIES} studies, or {MIN_OF_CLASS} of a class that the score reports apart, "
        "here or in the rest\n"
        "average precision rises with a class's fraction: where the mix of classes differs, AUROC compares better"
        + (by_chance if measured else "")
    )
    return "\n\n".join(blocks)


def name_order(order: str) -> str:
    """Name an order of `evaluate_selection` for a person."""
    measure, _, members = order.partition(" ")
    return f"{TITLES[measure]} {members}".rstrip()


def _format_subgroup(group: Subgroup, measure: str) -> tuple[str, ...]:
    score, difference = group.scores[measure], group.differences[measure]
    reported = (TOO_FEW, "") if score is None else _format(score)
    gap = (TOO_FEW, "", "") if difference is None else (*_format(difference, "+.4f"), evaluate_difference(difference))
    return (f"{group.trait}: {group.name}", _join(group.num_of_class), *reported, *gap)


def _join(num_of_class: Sequence[int]) -> str:
    return "/".join(map(str, num_of_class))


def _format(interval: Interval, style: str = ".4f") -> tuple[str, str]:
    return format_number(interval.value, style), format_interval(interval, style)


def _format_gain(gain: Interval | None) -> tuple[str, ...]:
    return ("", "", "") if gain is None else (*_format(gain, "+.4f"), evaluate_difference(gain))
