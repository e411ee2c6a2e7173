"""The four objects of a CR and a DX study in OHIF, as pictures: `python -m apps.pacs.viewer --ohif FOLDER`.

FOLDER is `dist` of the npm package @ohif/app (`npm pack @ohif/app@3.12.10`). The service scores the studies, and a
headless Chromium opens each series as Orthanc holds it. Needs selenium, Chromium and its driver.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fire
import requests
from scripts.errors import InputError, report_input_errors
from scripts.files import write_text
from scripts.synthetic import ImageStyle, derive_uid, draw_chest, make_image, store_picture

from apps.pacs.processes import open_copy, run_loop, send_by_web
from apps.pacs.queue import SENT

#: Orders of work of OHIF that show the series of a study; nothing of it asks another server.
CONFIG = {
    "routerBasename": "/",
    "showStudyList": True,
    "extensions": [],
    "modes": [],
    "showLoadingIndicator": True,
    "investigationalUseDialog": {"option": "never"},  # every object of ours says it
    "defaultDataSourceName": "dicomweb",
    "useSharedArrayBuffer": "FALSE",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                **dict.fromkeys(("wadoUriRoot", "qidoRoot", "wadoRoot"), "/dicom-web"),
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}
#: Regions of a report as the viewer has read them: image, and points in its pixels.
READ_REGIONS = """
const report = window.services.displaySetService.getActiveDisplaySets().find(each => each.Modality === 'SR');
return report.measurements.flatMap(each => each.coords).map(
    each => [each.ReferencedSOPSequence.ReferencedSOPInstanceUID, each.GraphicData]);
"""
SERIES = ("image", "report", "presentation", "segmentation", "capture")
STUDIES = {"CR": (800, 660, "typical", 21), "DX": (700, 760, "typical", 11)}


def show(ohif: str, out: str = "runs/pacs/viewer") -> str:
    """Score a CR and a DX study, open every series of them, and keep a picture of each.

    Args:
        ohif: folder of the built viewer.
        out: folder for the pictures.
    """
    if not (Path(ohif) / "index.html").is_file():
        raise InputError("a built OHIF with index.html", f"none in {ohif}", "npm pack @ohif/app, and unpack it")
    folder = Path(out)
    with run_loop(folder, watcher={"interval_seconds": 1}) as (orthanc, service):
        queue = open_copy(service)
        for kind in STUDIES:
            send_by_web(orthanc, _draw(kind))
        service.wait_until(lambda: queue.count_states()[SENT] == len(STUDIES))
        return take_pictures(ohif, orthanc.root, folder)


def take_pictures(ohif: str, orthanc: str, folder: Path) -> str:
    """Open every series of both studies; paths of the pictures."""
    lines = []
    with serve_viewer(Path(ohif), orthanc) as root:
        for kind in STUDIES:
            for series in SERIES:
                with open_browser() as browser:  # each its own: after some pages WebGL draws nothing any more
                    lines.append(_open_series(browser, f"{root}/viewer?StudyInstanceUIDs=", kind, series, folder))
    return "\n".join(lines)


@contextmanager
def serve_viewer(ohif: Path, orthanc: str) -> Iterator[str]:
    """Serve the viewer on loopback, our configuration in it, and Orthanc's DICOMweb at the same address."""

    class Viewer(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(ohif))

        def do_GET(self) -> None:
            if self.path.startswith("/dicom-web"):
                found = requests.get(orthanc + self.path, headers={"Accept": self.headers["Accept"]}, timeout=60)
                self._reply(found.content, found.headers["Content-Type"], found.status_code)
            elif self.path.startswith("/app-config.js"):
                self._reply(f"window.config = {json.dumps(CONFIG)};".encode(), "text/javascript")
            else:
                if not Path(ohif, self.path.split("?")[0].lstrip("/")).is_file():
                    self.path = "/index.html"  # an address that the viewer makes up
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            """Nothing is logged."""

        def _reply(self, content: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Viewer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def _draw(kind: str) -> Any:
    height, width, study_class, seed = STUDIES[kind]
    values, style = store_picture(
        draw_chest(height, width, study_class, (seed, seed, seed)).pixels, ImageStyle(kind=kind), "linear"
    )
    uids = {name: derive_uid("viewer", kind, name) for name in ("study_uid", "series_uid", "sop_uid")}
    return make_image(values, style, patient_id=f"SYNTHETIC-{kind}", patient_name=f"Synthetic^{kind}", **uids)


@contextmanager
def open_browser() -> Iterator[Any]:
    """A headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service as Driver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    switches = ["headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"]
    # OHIF draws by WebGL, also where there is no graphics card
    switches += ["use-angle=swiftshader", "enable-unsafe-swiftshader", "window-size=1500,950"]
    for switch in switches:
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Driver("/usr/bin/chromedriver"))
    browser.set_page_load_timeout(180)
    try:
        yield browser
    finally:
        browser.quit()


def _open_series(browser: Any, address: str, kind: str, series: str, folder: Path) -> str:
    """Open a study, then one of its series by a double click; a picture, and what the viewer complained of."""
    browser.get(address + derive_uid("viewer", kind, "study_uid"))
    _click(browser, "Skip all", 60)  # of a tour that is offered
    if series != "image":
        _click(browser, f"AI {series}", 60, twice=True)
    time.sleep(12)
    errors = [each["message"] for each in browser.get_log("browser") if each["level"] == "SEVERE"]
    write_text(folder / f"{kind}_{series}.txt", "\n".join(errors) + "\n")
    browser.save_screenshot(str(folder / f"{kind}_{series}.png"))
    if series == "report":
        write_text(folder / f"{kind}_regions.json", json.dumps(browser.execute_script(READ_REGIONS)) + "\n")
    return f"{folder / f'{kind}_{series}.png'}: {len(errors)} errors of the viewer"


def _click(browser: Any, text: str, seconds: float, twice: bool = False) -> None:
    """Click what shows a text, as soon as it is there."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    path = f"//*[starts-with(normalize-space(text()), '{text}')]"
    found = WebDriverWait(browser, seconds).until(lambda each: each.find_elements(By.XPATH, path))
    chain = ActionChains(browser)
    (chain.double_click if twice else chain.click)(found[-1]).perform()


if __name__ == "__main__":
    report_input_errors()
    fire.Fire(show, name="python -m apps.pacs.viewer")
