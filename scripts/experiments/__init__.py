"""Experiments: run records, cross-validation, ablation against a baseline, and the experiment registry.

The 17th-place solution [4] reports 163 experiments. Here each experiment is an override in bundle/configs/experiments,
each training leaves a record.json beside its weights, and a gain is called one only where it stands out of the noise
between seeds.
"""

from scripts.experiments.ablation import ablate
from scripts.experiments.clusters import RayCluster
from scripts.experiments.combinations import COMBINATIONS
from scripts.experiments.crossvalidation import crossvalidate, pool_images
from scripts.experiments.differences import Difference
from scripts.experiments.figures import draw_differences, draw_gains, draw_losses
from scripts.experiments.registry import (
    Entry,
    find_baselines,
    find_records,
    group_runs,
    measure_gain,
    measure_noise,
    read_leaderboard,
    tabulate_runs,
    write_registry,
)
from scripts.experiments.running import WEIGHTS, Plan, Slots

__all__ = [
    "COMBINATIONS",
    "WEIGHTS",
    "Difference",
    "Entry",
    "Plan",
    "RayCluster",
    "Slots",
    "ablate",
    "crossvalidate",
    "draw_differences",
    "draw_gains",
    "draw_losses",
    "find_records",
    "group_runs",
    "measure_gain",
    "find_baselines",
    "measure_noise",
    "pool_images",
    "read_leaderboard",
    "tabulate_runs",
    "write_registry",
]
