"""Grayscale transformations of a presentation state: the reader's display pipeline as DICOM attributes."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from scripts.outputs.dicom.source import Source
from scripts.radiographs import LookupTable, Window


def add_shades(state: Dataset, source: Source) -> None:
    """Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT modules (PS3.3 C.11.1, C.11.8, C.11.6).

    A presentation state replaces what the image says: what is left out here is not applied by a viewer. A window or a
    VOI LUT that the reader left out, because it shows nothing of the image, is left out here too.
    """
    display, flags = source.display, source.metadata.flags
    if display.modality:
        state.ModalityLUTSequence = [_make_table(display.modality)]
        state.ModalityLUTSequence[0].ModalityLUTType = "US"
    elif (display.slope, display.intercept) != (1.0, 0.0):
        state.RescaleIntercept, state.RescaleSlope = f"{display.intercept:.10g}", f"{display.slope:.10g}"
        state.RescaleType = "US"
    if display.voi and "voi_lut" not in flags:
        state.SoftcopyVOILUTSequence = [Dataset()]
        state.SoftcopyVOILUTSequence[0].VOILUTSequence = [_make_table(display.voi)]
    elif display.window and "window" not in flags:
        state.SoftcopyVOILUTSequence = [_make_window(display.window)]
    # C.11.6.1: INVERSE shows the smallest value as white, which is what MONOCHROME1 means.
    state.PresentationLUTShape = "INVERSE" if display.inverted else "IDENTITY"


def _make_window(window: Window) -> Dataset:
    """C.11.2.1.2; LINEAR is what is meant where no function is named."""
    item = Dataset()
    item.WindowCenter, item.WindowWidth = f"{window.center:.10g}", f"{window.width:.10g}"
    if window.function != "LINEAR":
        item.VOILUTFunction = window.function
    return item


def _make_table(table: LookupTable) -> Dataset:
    """C.11.1.1.1 and C.11.2.1.1: number of entries (0 for 65,536), first input, bits of an entry."""
    signed, count = table.first < 0, len(table.entries) % 65536
    if signed and count > 32767:
        count -= 65536  # an unsigned number in a signed element
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [count, table.first, table.bits])
    item.add_new("LUTData", "OW", np.asarray(table.entries).astype("<u2").tobytes())
    return item
