"""Pictures of pages and of an overlay, made of synthetic images: `python -m apps.site.pictures bundle/docs/images`.

What they show stays under `--work`. A result is made again where its command or one before it has changed, and what
networks predict also where code, configs or weights have. pictures.json, written last, has the version and the weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import fire
from PIL import Image
from scripts.errors import InputError, report_input_errors
from scripts.files import write_png, write_text
from scripts.predictions import PREDICTIONS_FILE, ImageFindings, read_done, read_predictions

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "bundle" / "models"
PICTURES_FILE, OVERLAY = "pictures.json", "overlay.png"

#: As bundle/docs/reports.md has it.
OPERATING_POINT = "{'threshold': 0.3577, 'option': 'sensitivity 0.951, specificity 0.507 on fold 0'}"
#: Result -> command that writes it. The broken images are rejected: pages list them. No network was trained on these.
STEPS = {
    "images": "scripts generate-synthetic --out WORK/images --num_studies 90 --num_test_studies 0 --broken",
    "prepared": "scripts prepare --tree WORK/images --out WORK/prepared",
    "inference": f"""monai.bundle run inferring --config_file bundle/configs/inference.json
        --dataset_dir WORK/images/train --output_dir WORK/inference --operating_point "{OPERATING_POINT}" """,
    "lite0": """monai.bundle run inferring
        --config_file "['bundle/configs/inference.json','bundle/configs/inference_lite0.json']"
        --dataset_dir WORK/images/train --output_dir WORK/lite0 --overlays 0 --study_pages false""",
    "explanations": """monai.bundle run explaining
        --config_file "['bundle/configs/train.json','bundle/configs/evaluate.json','bundle/configs/explain.json']"
        --dataset_dir WORK/images --datalist_file WORK/prepared/datalist.json --fold [0,1,2,3,4]
        --weights bundle/models/model.pt --output_dir WORK/explanations --overlays -1""",
    "report.html": """scripts report WORK/inference WORK/lite0 WORK/explanations
        --ground_truth WORK/prepared/datalist.json --tree WORK/images --out WORK/report.html""",
}
WITHOUT_NETWORKS = ("images", "prepared")
#: 3: some images were rejected.
ENDED_WELL = (0, 3)

#: Page, or a part of it, and height of each screenshot; all are as wide as a laptop's screen.
SCREENSHOTS = {
    "study_index.png": ("inference/index.html", 900),
    "study_page.png": ("inference/studies/STUDY.html", 1130),
    "report_scores.png": ("report.html", 1080),
    "report_studies.png": ("report.html#studies", 850),
}
WIDTH = 1280
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_log = logging.getLogger(__name__)


def make_pictures(folder: str, work: str = "runs/pictures") -> str:
    """Make all pictures in a folder, and what they show under `work`.

    Raises:
        InputError: where there is no Chromium, a command fails, or weights are changed meanwhile.
    """
    browser, out, results = next(filter(None, map(shutil.which, BROWSERS)), ""), Path(folder), Path(work).resolve()
    if not browser:
        raise InputError(f"a browser, {' or '.join(BROWSERS)}", "none", "install Chromium")
    make_results(results)
    overlay, page = choose_images(read_predictions(results / "inference" / PREDICTIONS_FILE))
    for name, (address, height) in SCREENSHOTS.items():
        take_screenshot(browser, results / address.replace("STUDY", page.study_id), out / name, height)
    write_smaller(results / "inference" / "overlays" / f"{overlay.image_id}.png", out / OVERLAY)
    used = [read_done(results / name)["weights_sha256"].values() for name in ("inference", "lite0")]
    version = json.loads((ROOT / "bundle/configs/metadata.json").read_text(encoding="utf-8"))["version"]
    weights = name_weights([each for hashes in used for each in hashes], read_hashes(MODELS))
    content = {"version": version, "weights": weights, "pictures": sorted([*SCREENSHOTS, OVERLAY])}
    write_text(out / PICTURES_FILE, json.dumps(content, indent=1) + "\n")
    return f"wrote {', '.join(content['pictures'])} of version {version} to {out}"


def make_results(work: Path) -> None:
    """Run each command whose result is not there, or was made by what has changed since."""
    record = work / "steps.json"
    made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    networks, identity = hash_files(), ""
    for name, command in STEPS.items():
        parts = (identity, command, "" if name in WITHOUT_NETWORKS else networks)
        identity = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        if made.get(name) == identity and (work / name).exists():
            continue
        _log.info("%s", name)
        shutil.rmtree(work / name, ignore_errors=True)
        run_command(command, work, work / f"{name}.log")
        made[name] = identity
        write_text(record, json.dumps(made, indent=1) + "\n")


def hash_files() -> str:
    """Hash code, configs, and the hashes of the weights."""
    found = (ROOT.glob(pattern) for pattern in ("scripts/**/*.*", "bundle/configs/**/*.json", "bundle/models/*.sha256"))
    digest = hashlib.sha256()
    for path in sorted(path for paths in found for path in paths if path.is_file() and path.suffix != ".pyc"):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def run_command(command: str, work: Path, log: Path) -> None:
    """Run a command of `STEPS` from the repository, with its output in a file.

    Raises:
        InputError: where it fails.
    """
    words = [word.replace("WORK", str(work)) for word in shlex.split(command)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        words = [sys.executable, "-W", "ignore", "-m", *words]
        code = subprocess.run(words, cwd=ROOT, stdout=file, stderr=file, check=False).returncode
    if code not in ENDED_WELL:
        last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2][:300]
        raise InputError("a command that ends well", f"exit code {code}: {last}", f"read {log}")


def choose_images(images: Sequence[ImageFindings]) -> tuple[ImageFindings, ImageFindings]:
    """Choose the image of the overlay, and that of the study page: the most suspicious one, and of those with a flag.

    Each is its study's only image, has one shown box on each side, and was not seen whole, so that all layers are seen.

    Raises:
        InputError: where there is none.
    """
    number = Counter(image.study_id for image in images)
    fit = [image for image in images if number[image.study_id] == 1 and "whole_image" not in image.flags]
    fit = sorted(filter(is_on_both_sides, fit), key=lambda image: image.probabilities["negative"])
    flagged = [image for image in fit if image.flags]
    if not flagged:
        raise InputError("a flagged image with a box on each side", "none", "generate more studies")
    return fit[0], flagged[0]


def is_on_both_sides(image: ImageFindings) -> bool:
    """Tell an image with two shown boxes, one on each side of the lungs' middle."""
    middle = image.crop_box[0] + image.crop_box[2]
    return sorted(box[0] + box[2] < middle for box in image.keep_shown().boxes) == [False, True]


def name_weights(hashes: Iterable[str], files: Mapping[str, str]) -> dict[str, str]:
    """Those of the files of weights, as name -> SHA-256, that runs were made by.

    Raises:
        InputError: where a hash is of none of them.
    """
    used = set(hashes)
    if unknown := used - set(files.values()):
        raise InputError("runs of the present weights", f"weights {min(unknown)[:12]}", "run make pictures again")
    return {name: sha256 for name, sha256 in files.items() if sha256 in used}


def read_hashes(models: Path) -> dict[str, str]:
    """SHA-256 of each file of weights, as the `.sha256` beside it has it."""
    return {path.stem: path.read_text(encoding="utf-8").split()[0] for path in sorted(models.glob("*.sha256"))}


def take_screenshot(browser: str, page: Path, path: Path, height: int) -> None:
    """Write the upper part of a page, or of `page#part`, as a PNG, on a light theme.

    Raises:
        InputError: where the browser writes none.
    """
    shown = write_part(page) if "#" in page.name else page
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder, "taken.png")
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--virtual-time-budget=10000", f"--user-data-dir={folder}/profile", f"--screenshot={taken}"]
        command += [f"--window-size={WIDTH},{height}", shown.as_uri()]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if not taken.is_file():
            raise InputError("a screenshot", ended.stderr[-300:], f"open {shown} by hand")
        write_smaller(taken, path)


def write_part(page: Path) -> Path:
    """Write the page beside itself as it looks scrolled to a part: a screenshot of an anchor comes out empty."""
    name, _, part = page.name.partition("#")
    style = f"<style>.bar, main > :not(nav, #{part}) {{ display: none }}</style>"
    text = page.with_name(name).read_text(encoding="utf-8").replace("</head>", f"{style}</head>", 1)
    shown = page.with_name(f"{Path(name).stem}_{part}.html")
    write_text(shown, text)
    return shown


def write_smaller(source: Path, path: Path) -> None:
    """Write a PNG again in 256 colours, the rare ones kept: a third of the size, and no edge looks another way."""
    with Image.open(source) as picture:
        few = picture.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    write_png(path, few, optimize=True, compress_level=9)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="== %(message)s")
    report_input_errors()
    fire.Fire(make_pictures, name="python -m apps.site.pictures")
