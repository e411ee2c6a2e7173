"""Outputs of a run: tables, masks, overlays, DICOM objects, and the handlers that write them."""

from scripts.outputs.identity import hash_weights
from scripts.outputs.journal import SOURCES_FILE, InferenceJournal, claim_results
from scripts.outputs.pictures import (
    CROP_COLOUR,
    OPACITY_COLOUR,
    REMARK_COLOUR,
    RESEARCH_USE,
    SMALLEST_WIDTH,
    TEXT_COLOUR,
    draw_overlay,
    write_mask,
)
from scripts.outputs.prediction_table import PredictionTable, read_prediction_table
from scripts.outputs.sheets import LungCase, draw_lung_sheet
from scripts.outputs.study_pages import describe_flags
from scripts.outputs.tables import write_tables
from scripts.outputs.writer import FindingsWriter

__all__ = [
    "CROP_COLOUR",
    "OPACITY_COLOUR",
    "REMARK_COLOUR",
    "RESEARCH_USE",
    "SMALLEST_WIDTH",
    "SOURCES_FILE",
    "TEXT_COLOUR",
    "FindingsWriter",
    "InferenceJournal",
    "LungCase",
    "PredictionTable",
    "claim_results",
    "describe_flags",
    "draw_lung_sheet",
    "draw_overlay",
    "hash_weights",
    "read_prediction_table",
    "write_mask",
    "write_tables",
]
