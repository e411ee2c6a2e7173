"""Study pages of many studies: time to write them, their sizes, and the time that Chromium needs to open them.

    python -m benchmarks.pages --number 1000 --written 40      needs selenium, and Chromium with its driver

Each study has one synthetic image of 512 pixels, or two of them in one of four.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scripts.labels import STUDY_CLASSES
from scripts.outputs import draw_overlay, write_mask
from scripts.outputs.study_pages import StudyPages
from scripts.outputs.study_pages.content import gather_studies
from scripts.predictions import ImageFindings
from scripts.radiographs import read_radiograph
from scripts.synthetic import generate_tree
from selenium import webdriver

from benchmarks.commandline import run_command

SIZE = 512


def find_images(number: int, rng: np.random.Generator) -> Iterator[ImageFindings]:
    """Findings of many studies."""
    for study in range(number):
        probabilities = dict(zip(STUDY_CLASSES, rng.dirichlet(np.ones(4)).tolist(), strict=True))
        for image in range(2 if study % 4 == 0 else 1):
            boxes = tuple((x, y, x + 90.0, y + 120.0) for x, y in rng.uniform(20, 300, (study % 3, 2)).tolist())
            scores = tuple(rng.uniform(0.5, 1, len(boxes)).tolist())
            flags = ("no_lungs", "whole_image") if study % 10 == 0 else ()
            name, crop = f"{study:06d}{image}", (40.0, 40.0, 430.0, 460.0)
            yield ImageFindings(name, f"{study:06d}", probabilities, boxes, scores, 0.5, crop, flags)


def write(number: int, written: int, folder: Path) -> dict[str, float]:
    """Write the layers and pages of some studies, and the index of all; milliseconds of processor time by step.

    Every image has the same pixels: the layers of the others are links to those of the first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    generate_tree(folder / "tree", num_studies=4, num_test_studies=1, size=SIZE, workers=1)
    pixels = read_radiograph(next((folder / "tree").rglob("*.dcm"))).pixels[0]
    mask = np.zeros(pixels.shape, dtype=np.uint8)
    mask[150:300, 100:200] = 1
    images, pages = list(find_images(number, np.random.default_rng(0))), StudyPages(folder, "benchmark")
    some = [image for image in images if int(image.study_id) < written]
    seconds = {"mask": 0.0, "overlay": 0.0, "layers of a page": 0.0}
    for image in some:
        steps: dict[str, Callable[[], None]] = {
            "mask": partial(write_mask, mask, folder / "masks" / f"{image.image_id}.png"),
            "overlay": partial(draw_overlay, pixels, mask, image, folder / "overlay.png"),
            "layers of a page": partial(pages.write_layers, image.image_id, pixels, mask),
        }
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name] += (time.process_time() - start) / len(some)
    start = time.process_time()
    pages.write(some, [], {"network": "0" * 64})
    seconds["page and picture of a study"] = (time.process_time() - start) / written
    for place in ("masks", "studies/images", "studies/masks"):
        for image in images[len(some) :]:
            os.link(folder / place / f"{some[0].image_id}.png", folder / place / f"{image.image_id}.png")
    start = time.process_time()
    pages.write_index(gather_studies(images, [], folder / "masks", None), [], {"network": "0" * 64})
    seconds[f"index of {number} studies"] = time.process_time() - start
    return {name: 1000 * value for name, value in seconds.items()}


def open_page(page: Path) -> dict[str, Any]:
    """Milliseconds until a page can be used and is loaded, medians of five openings; elements; time of a filter."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    timing = "const t = performance.getEntriesByType('navigation')[0]; return [t.domInteractive, t.loadEventEnd]"
    try:
        times = []
        for _ in range(5):
            browser.get(page.resolve().as_uri())
            times.append(browser.execute_script(timing))
        elements = browser.execute_script("return document.querySelectorAll('*').length")
        filtered = browser.execute_script(
            "const s = performance.now(), i = document.querySelector('input[type=search]'); if (!i) return null;"
            "i.value = '0009'; i.dispatchEvent(new Event('input', {bubbles: true})); document.body.offsetHeight;"
            "return performance.now() - s"
        )
    finally:
        browser.quit()
    usable, loaded = np.median(times, axis=0).tolist()
    return {"usable_ms": round(usable), "loaded_ms": round(loaded), "elements": elements, "filter_ms": filtered}


def measure(number: int = 1000, written: int = 40, out: str = "runs/pages") -> str:
    """Write the pages of some studies and the index of many, open them, and report both."""
    folder = Path(out)
    lines = [f"{name}: {value:.0f} ms of processor time" for name, value in write(number, written, folder).items()]
    studies = sorted((folder / "studies").glob("*.html"))
    for title, files in (
        ("index.html", [folder / "index.html"]),
        ("a study's page", studies),
        ("a study's picture", list((folder / "studies").glob("*.png"))),
        ("an image's layer", list((folder / "studies").glob("images/*.png"))),
        ("a mask's layer", list((folder / "studies").glob("masks/*.png"))),
    ):
        lines.append(f"{title}: {sum(file.stat().st_size for file in files) / len(files) / 1e3:.0f} kB in the mean")
    lines += [f"index.html: {open_page(folder / 'index.html')}", f"a study: {open_page(studies[0])}"]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(measure, "benchmarks.pages")
