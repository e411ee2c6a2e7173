"""How networks are asked: in mixed precision, over several views, and one after the other: film, lungs, study."""

from scripts.inferers.films import FilmInferer
from scripts.inferers.lungs import LungFinder, Lungs
from scripts.inferers.opacities import OpacityFinder
from scripts.inferers.views import VIEWS, AutocastInferer, ViewsInferer

__all__ = ["VIEWS", "AutocastInferer", "FilmInferer", "LungFinder", "Lungs", "OpacityFinder", "ViewsInferer"]
