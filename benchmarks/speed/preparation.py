"""Preparation: from DICOM files to a checked datalist.

Images of 1,024 px in nine transfer syntaxes, by two processes. Ours decodes in limited child processes, checks, hashes,
finds duplicates and writes the datalist. MONAI's stock transforms read, scale, resize, keep the result on disk, and
check nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.preparation import prepare
from scripts.synthetic import generate_tree

from benchmarks.speed.comparison import Comparison, time_in_turn

STUDIES, SIZE, WORKERS, REPEATS = 120, 1024, 2, 3

STOCK = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from monai.data import DataLoader, PersistentDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized, ScaleIntensityd
steps = [LoadImaged("image", reader="PydicomReader"), EnsureChannelFirstd("image"), ScaleIntensityd("image"),
         Resized("image", (256, 256), anti_aliasing={smooth})]
items = [{{"image": path}} for path in sorted(map(str, Path(sys.argv[1]).rglob("*.dcm")))]
data = PersistentDataset(items, Compose(steps), sys.argv[2])
print(sum(len(batch) for batch in DataLoader(data, num_workers={workers}, batch_size=16, collate_fn=list)))
"""


def measure(folder: Path) -> list[Comparison]:
    """Compare with MONAI's stock transforms, without and with antialiasing."""
    tree = folder / "images"
    if not tree.is_dir():
        generate_tree(tree, STUDIES, 1, SIZE)
    count = sum(1 for _ in tree.rglob("*.dcm"))

    def prepare_ours() -> None:
        shutil.rmtree(folder / "prepared", ignore_errors=True)
        prepare(tree, folder / "prepared", workers=WORKERS)

    rows = []
    for smooth in (False, True):
        ours, theirs = time_in_turn([prepare_ours, lambda s=smooth: _run_stock(tree, folder / "stock", s)], REPEATS, 0)
        against = f"MONAI LoadImaged, Resized{' with anti_aliasing' if smooth else ''}, PersistentDataset"
        rows.append(Comparison(f"prepare {count} images", against, ours, theirs, ">= 3", "images", count))
    return rows


def _run_stock(tree: Path, cache: Path, smooth: bool) -> None:
    shutil.rmtree(cache, ignore_errors=True)
    code = STOCK.format(smooth=smooth, workers=WORKERS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tree), str(cache)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
