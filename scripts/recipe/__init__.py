"""Recipe of the shipped weights: its trainings in the order of what they need, side by side, resumed by name."""

from scripts.recipe.forking import start_forked
from scripts.recipe.parts import Part, Recipe, read_recipe
from scripts.recipe.running import make_weights

__all__ = ["Part", "Recipe", "make_weights", "read_recipe", "start_forked"]
