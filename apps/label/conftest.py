"""Servers for the tests: MONAI Label as `apps.label.serve` starts it, and Orthanc as its DICOMweb store."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from apps.label.serve import BUNDLE

ROOT = Path(__file__).parents[2]
INTEGRATIONS = Path(os.environ.get("INTEGRATIONS", ROOT / "runs" / "integrations")).resolve()
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Server:
    """A server of MONAI Label: its address, process, log, and the seconds until it answered."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    seconds: float

    def infer(self, image: str, output: str = "json") -> requests.Response:
        """Ask about an image as a viewer does."""
        params = {"device": "cpu", "result_extension": ".nrrd", "result_dtype": "uint8"}
        address = f"{self.url}/infer/{BUNDLE}?image={image}&output={output}"
        return requests.post(address, data={"params": json.dumps(params)}, timeout=300)

    def measure_memory(self) -> float:
        """The most memory that the process has held, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def find_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(studies: str | Path, folder: Path, *options: str) -> Iterator[Server]:
    """MONAI Label by the documented command, until the block ends."""
    port, log = find_port(), folder / "label.log"
    command = [sys.executable, "-m", "apps.label.serve", "--studies", str(studies), "--port", str(port)]
    command += ["--app", str(folder / "app"), "--cache", str(folder / "dicomweb"), *options]
    start, url = time.monotonic(), f"http://127.0.0.1:{port}"
    with log.open("wb") as reported:
        process = subprocess.Popen(command, cwd=ROOT, stdout=reported, stderr=reported)
    try:
        yield Server(url, process, log, wait_until_answered(f"{url}/info/", process, log, start))
    finally:
        process.terminate()
        process.wait(30)


def wait_until_answered(address: str, process: subprocess.Popen[bytes], log: Path, start: float) -> float:
    """Seconds since the start until an address answers."""
    while time.monotonic() - start < 400:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if requests.get(address, timeout=30).ok:
                return time.monotonic() - start
        except requests.ConnectionError:
            time.sleep(0.5)
    raise AssertionError(f"no answer: {log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def images() -> dict[str, Path]:
    """The images that every integration predicts, by image id."""
    found = {path.stem: path for path in sorted((INTEGRATIONS / "images").rglob("*.dcm"))}
    assert found, f"no images in {INTEGRATIONS}; python -m apps.integrations ask"
    return found


@pytest.fixture(scope="session")
def folder_server(images: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The stock app on a folder of DICOM files; `studies` beside its log."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "studies").mkdir()
    for path in images.values():
        shutil.copy(path, folder / "studies" / path.name)
    with serve(folder / "studies", folder, "--stock") as server:
        yield server


@pytest.fixture(scope="session")
def orthanc(images: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an Orthanc on loopback that holds the images."""
    assert PLUGIN.is_file(), "Orthanc with its DICOMweb plugin: apt-get install orthanc orthanc-dicomweb"
    folder, port = tmp_path_factory.mktemp("orthanc"), find_port()
    config = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    log, url = folder / "orthanc.log", f"http://127.0.0.1:{port}"
    with log.open("wb") as reported:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=reported, stderr=reported)
    try:
        wait_until_answered(f"{url}/system", process, log, time.monotonic())
        for path in images.values():
            requests.post(f"{url}/instances", data=path.read_bytes(), timeout=30).raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def dicomweb_server(orthanc: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Our app, the stock one with one more order of work, on Orthanc."""
    with serve(f"{orthanc}/dicom-web", tmp_path_factory.mktemp("dicomweb")) as server:
        yield server


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium that reaches nobody but the page's own server."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    switches = ["headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"]
    switches += ["disable-background-networking", "disable-component-update", "window-size=1400,900"]
    # OHIF draws by WebGL, also where there is no graphics card
    switches += ["use-angle=swiftshader", "enable-unsafe-swiftshader"]
    for switch in switches:
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()
