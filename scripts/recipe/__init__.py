"""Recipe of the shipped weights: its trainings in the order of what they need, side by side, resumed by name."""

from scripts.recipe.assembling import assemble_predictions, write_out_of_fold
from scripts.recipe.external import add_unlabelled
from scripts.recipe.forking import start_forked
from scripts.recipe.parts import Part, Recipe, read_recipe
from scripts.recipe.running import describe_plan, make_weights

__all__ = [
    "Part",
    "Recipe",
    "add_unlabelled",
    "assemble_predictions",
    "describe_plan",
    "make_weights",
    "read_recipe",
    "start_forked",
    "write_out_of_fold",
]
