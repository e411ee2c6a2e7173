"""Outputs of a run: tables, JSON, the challenge's submission, masks and overlays."""

from scripts.outputs.pictures import draw_overlay, write_mask
from scripts.outputs.prediction_table import PredictionTable, read_prediction_table
from scripts.outputs.sheets import LungCase, draw_lung_sheet
from scripts.outputs.submission import format_prediction_string, write_submission
from scripts.outputs.tables import average_studies, read_predictions, write_tables
from scripts.outputs.writer import FindingsWriter

__all__ = [
    "FindingsWriter",
    "LungCase",
    "PredictionTable",
    "average_studies",
    "draw_lung_sheet",
    "draw_overlay",
    "format_prediction_string",
    "read_prediction_table",
    "read_predictions",
    "write_mask",
    "write_submission",
    "write_tables",
]
