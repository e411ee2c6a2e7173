"""Runs and what they taught: a record of each, folds in a row, ideas against a baseline, and the ledger of all.

The article reports 163 experiments. Here each idea is an overlay in bundle/configs/experiments, each training leaves a
record.json beside its weights, and a gain is called one only where it stands out of the noise between seeds.
"""

from scripts.experiments.ablation import ablate
from scripts.experiments.crossvalidation import crossvalidate, pool_films
from scripts.experiments.figures import draw_gains, draw_losses
from scripts.experiments.ledger import find_records, group_runs, read_leaderboard, tabulate_runs, write_ledger
from scripts.experiments.recording import Record, RunRecorder, read_history, read_record
from scripts.experiments.rows import ROWS
from scripts.experiments.running import Plan

__all__ = [
    "ROWS",
    "Plan",
    "Record",
    "RunRecorder",
    "ablate",
    "crossvalidate",
    "draw_gains",
    "draw_losses",
    "find_records",
    "group_runs",
    "pool_films",
    "read_history",
    "read_leaderboard",
    "read_record",
    "tabulate_runs",
    "write_ledger",
]
