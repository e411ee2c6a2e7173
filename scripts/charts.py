"""Style and saving of diagrams."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from scripts.files import replace_file

#: Okabe and Ito's palette, told apart by the colour-blind too (jfly.uni-koeln.de/color).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#767676"


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG, whole or not at all, with as many points an inch as it has."""
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=figure.dpi)
