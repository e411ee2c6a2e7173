"""MONAI Label integration: the packed bundle, unchanged, in the stock app. `make test-label` runs these tests."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image
from scripts.labels import STUDY_CLASSES
from scripts.masks import read_mask
from scripts.monai_label import list_corrections, read_corrections
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from apps.integrations import compare_results, write_cost
from apps.label.conftest import BUNDLE, INTEGRATIONS, ROOT, Server, serve

#: The image that is corrected in the browser; it has a mask. `apps.images` needs a newer pydicom than MONAI Label.
REVIEWED = "c00000000001"


def read_result(server: Server, image: str, folder: Path) -> dict[str, Any]:
    """A result's JSON; its mask goes to folder/masks."""
    result, mask = server.infer(image), server.infer(image, "image")
    assert result.ok and mask.ok, (result.text, mask.text[:300])
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    path = folder / "masks" / f"{image}.nrrd"
    path.write_bytes(mask.content)
    Image.fromarray(read_mask(path)).save(path.with_suffix(".png"))
    return result.json()


def write_responses(results: dict[str, dict[str, Any]], folder: Path) -> None:
    """As a bundle run leaves them."""
    images = [{"image_id": name, **result} for name, result in results.items()]
    (folder / "predictions.json").write_text(json.dumps({"images": images}))


def test_the_answers_are_those_of_the_bundle_run(folder_server: Server, images: dict[str, Path]):
    folder = INTEGRATIONS / "label"
    shutil.rmtree(folder, ignore_errors=True)
    first = next(iter(images))
    start = time.monotonic()
    folder_server.infer(first)
    first_seconds = time.monotonic() - start
    results = {name: read_result(folder_server, name, folder) for name in images}
    start = time.monotonic()
    folder_server.infer(first)
    cost = {
        "seconds_to_start": round(folder_server.seconds, 1),
        "seconds_for_the_first_response": round(first_seconds, 1),
    }
    cost |= {"seconds_for_an_image": round(time.monotonic() - start, 2), "MB": round(folder_server.measure_memory())}
    write_responses(results, folder)
    write_cost(INTEGRATIONS, "label", **cost)
    assert compare_results(INTEGRATIONS / "bundle_run", folder).agrees


def test_an_answer_names_scores_boxes_and_flags(folder_server: Server, images: dict[str, Path]):
    result = folder_server.infer(next(iter(images))).json()
    assert set(result["probabilities"]) == {"negative", "typical", "indeterminate", "atypical"}
    assert len(result["boxes"]) == len(result["scores"]) and "flags" in result and "out_of_scope" in result


def test_an_image_that_is_rejected_is_no_answer(folder_server: Server):
    store = folder_server.log.parent / "studies"
    (store / "broken.dcm").write_bytes(b"no image")
    for _ in range(40):  # MONAI Label watches its folder
        if "broken" in requests.get(f"{folder_server.url}/datastore/?output=all", timeout=30).text:
            break
        time.sleep(0.5)
    result = folder_server.infer("broken")
    (store / "broken.dcm").unlink()
    assert result.status_code >= 500 and "probabilities" not in result.text


def test_renderings_are_served_where_they_are_accepted(images: dict[str, Path], tmp_path: Path):
    (tmp_path / "studies").mkdir()
    picture = Image.open(sorted((INTEGRATIONS / "bundle_run" / "overlays").glob("*.png"))[0]).convert("L")
    picture.save(tmp_path / "studies" / "rendering.png")
    with serve(tmp_path / "studies", tmp_path, "--stock", "--accept_renderings") as server:
        result = server.infer("rendering")
        assert result.ok and sum(result.json()["probabilities"].values()) > 0.999, result.text


def test_corrections_come_back_and_are_trained_on(folder_server: Server, images: dict[str, Path]):
    """Masks and classes that were submitted: a table for `prepare`, and a training from Label's own endpoint."""
    store, names = folder_server.log.parent / "studies", sorted(images.keys() - {REVIEWED})
    reported: list[dict[str, Any]] = [
        {"study_class": "typical"},
        {"study_class": "negative"},
        {},
        {"study_class": "typical"},
    ]
    for name, params in zip(names, reported, strict=True):
        result = folder_server.infer(name).json()
        mask = read_mask(INTEGRATIONS / "label" / "masks" / f"{name}.nrrd")
        mask[: len(mask) // 2] = False  # what a person takes away
        picture = io.BytesIO()
        Image.fromarray(mask.astype(np.uint8) * 255).save(picture, "PNG")
        params = {**params, "lung_box": result["crop_box"]} if name != names[0] else params
        address = f"{folder_server.url}/datastore/label?image={name}&tag=final"
        sent = {"label": ("mask.png", picture.getvalue())}
        requests.put(address, data={"params": json.dumps(params)}, files=sent, timeout=60).raise_for_status()
    listed = list_corrections(store, store.parent / "corrections.csv")
    assert (listed.num_images, listed.num_without_class) == (4, 1)
    rows = listed.table.read_text().splitlines()
    assert all("MONAI Label, saved 2" in row and "labels/final/" in row for row in rows[1:])

    request = {"model": BUNDLE, "device": "cpu", "max_epochs": 2, "val_split": 0.25, "multi_gpu": False}
    requests.post(f"{folder_server.url}/train/{BUNDLE}", json=request, timeout=60).raise_for_status()
    status: dict[str, Any] = {}
    while status.get("status") not in ("DONE", "ERROR"):
        time.sleep(2)
        status = requests.get(f"{folder_server.url}/train/", timeout=60).json()
    trained = ROOT / "runs" / "training" / "history.json"
    assert status["status"] == "DONE", status["details"][-5:]
    assert [row["epoch"] for row in json.loads(trained.read_text())] == [1, 2]


def test_corrections_are_trained_on_from_the_command_line(folder_server: Server, tmp_path: Path):
    """The commands of the documentation, on what the test before has submitted."""
    store = folder_server.log.parent / "studies"
    table, datalist = tmp_path / "corrections.csv", tmp_path / "corrected" / "datalist.json"
    run_module("scripts", "export-corrections", "--studies", store, "--out", table)
    places = ("--tree", store, "--tables", table, "--out", datalist.parent)
    run_module("scripts", "prepare", *places, "--num_folds", 2, "--workers", 1)
    small = ("--image_size", 64, "--epochs", 1, "--val_interval", 1, "--batch_size", 2)
    config = ("--config_file", "bundle/configs/train.json", "--dataset_dir", store, "--datalist_file", datalist)
    run_module("monai.bundle", "run", "training", *config, "--output_dir", tmp_path / "training", *small)
    images = json.loads(datalist.read_text())["training"]
    assert len(images) == 3 and all(image["origin"].startswith("MONAI Label, saved 2") for image in images)
    assert json.loads((tmp_path / "training" / "record.json").read_text())["status"] == "done"


def run_module(*arguments: object) -> None:
    """Run `python -m ...` from the repository's root, as the documentation says it."""
    command = [sys.executable, "-W", "ignore", "-m", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-500:] + ended.stderr[-1500:]


def test_a_person_corrects_a_mask_in_the_browser(
    folder_server: Server, images: dict[str, Path], browser: webdriver.Chrome
):
    """Our page shows image, mask, boxes and scores; a stroke of the brush and a class come back as a correction."""
    name, store = REVIEWED, folder_server.log.parent / "studies"
    browser.get(f"{folder_server.url}/review/?image={name}")
    submit = browser.find_element(By.ID, "submit")
    WebDriverWait(browser, 200).until(lambda _: submit.is_enabled())
    reported = browser.find_element(By.ID, "result").text
    assert (
        all(study_class in reported for study_class in STUDY_CLASSES) and reported.count("0.") == len(STUDY_CLASSES) + 1
    )
    browser.save_screenshot(str(INTEGRATIONS / "review.png"))
    image = browser.find_element(By.ID, "marks")
    ActionChains(browser).move_to_element(image).click_and_hold().move_by_offset(40, 0).release().perform()
    Select(browser.find_element(By.ID, "class")).select_by_value("atypical")
    submit.click()
    WebDriverWait(browser, 60).until(lambda _: "submitted" in browser.find_element(By.ID, "reported").text)
    (correction,) = [each for each in read_corrections(store) if each.image_id == name]
    before, after = read_mask(INTEGRATIONS / "label" / "masks" / f"{name}.nrrd"), read_mask(correction.mask)
    height, width = after.shape
    assert correction.study_class == "atypical" and correction.lung_box is not None
    assert after[height // 2, width // 2] and (after & ~before).sum() > 0 and not (before & ~after).any()


def test_the_viewer_of_monai_label_lists_the_images(
    dicomweb_server: Server, images: dict[str, Path], browser: webdriver.Chrome
):
    """OHIF as MONAI Label ships it; in its mode "MONAI Label" a single image stays black: `apps.label.review`."""
    browser.get(f"{dicomweb_server.url}/ohif/")
    page = browser.find_element(By.TAG_NAME, "body")
    WebDriverWait(browser, 120).until(lambda _: all(f"SYNTHETIC-{name}" in page.text for name in images))
    browser.save_screenshot(str(INTEGRATIONS / "ohif.png"))


def test_a_dicomweb_store_gives_the_same_answers(dicomweb_server: Server, orthanc: str, images: dict[str, Path]):
    series = {name: find_series(orthanc, name) for name in images}
    folder = dicomweb_server.log.parent / "results"
    results = {name: read_result(dicomweb_server, uid, folder) for name, uid in series.items()}
    for name, uid in series.items():
        (folder / "masks" / f"{uid}.png").rename(folder / "masks" / f"{name}.png")
    write_responses(results, folder)
    assert compare_results(INTEGRATIONS / "bundle_run", folder).agrees


def find_series(orthanc: str, name: str) -> str:
    """SeriesInstanceUID of an image by its patient's id, which `apps.images` made of its name."""
    query = {"Level": "Series", "Query": {"PatientID": f"SYNTHETIC-{name}"}, "Expand": True}
    (series,) = requests.post(f"{orthanc}/tools/find", json=query, timeout=30).json()
    return str(series["MainDicomTags"]["SeriesInstanceUID"])


def test_the_image_comes_first_about_which_members_are_least_sure(dicomweb_server: Server, images: dict[str, Path]):
    scored = requests.post(f"{dicomweb_server.url}/scoring/uncertainty?run_sync=true", json={}, timeout=600)
    assert scored.ok, scored.text
    stored = json.loads((dicomweb_server.log.parent / "app" / "uncertainty.json").read_text())
    scores = {image: entry["uncertainty"] for image, entry in stored.items()}
    assert len(scores) == len(images) and max(scores.values()) > min(scores.values()) >= 0
    assert scored.json()["members"] == sorted(
        path.name for path in (ROOT / "dist/chest_xray_covid19/models").glob("model*.pt")
    )
    address = f"{dicomweb_server.url}/activelearning/uncertainty"
    given = [requests.post(address, json={}, timeout=60).json()["id"] for _ in scores]
    # the twins are one picture and have one score: of two such images the first by its id
    assert given == sorted(sorted(scores), key=scores.__getitem__, reverse=True)


def test_nothing_but_loopback_answers(folder_server: Server):
    """Neither a listener on other interfaces, nor a response to pages of other origins."""
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f"{int(folder_server.url.rpartition(':')[2]):04X}"
    hosts = {line.split()[1].split(":")[0] for line in listening if line.split()[1].endswith(f":{port}")}
    result = requests.get(f"{folder_server.url}/info/", headers={"Origin": "http://external.example"}, timeout=60)
    assert hosts == {"0100007F"} and "access-control-allow-origin" not in result.headers
