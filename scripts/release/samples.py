"""Sample images of a release: a small synthetic tree, so that the model card's commands run at once."""

from __future__ import annotations

from pathlib import Path

from scripts.synthetic import generate_tree

#: Place in the bundle.
SAMPLES = "samples"

#: Studies with a label and without: enough for three folds with all classes, and for batches of two processes.
NUM_STUDIES, NUM_TEST_STUDIES = 12, 3

#: The longer side in pixels.
SIZE = 256


def write_samples(folder: Path) -> None:
    """Write the tree in the challenge's layout, as 8-bit JPEG: about 350 KB, and read without a further decoder."""
    generate_tree(folder, NUM_STUDIES, NUM_TEST_STUDIES, SIZE, workers=1, compact=True)
