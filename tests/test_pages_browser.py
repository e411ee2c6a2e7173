"""Pages in a browser: they open from disk without an error, their controls work, and axe finds nothing serious.

It needs Chromium with its driver, selenium and axe-core (`make test-pages` installs the last two); each test is skipped
without them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import pytest
from scripts.outputs.operating_point import OperatingPoint
from scripts.reports import write_report

from tests.reports import write_explained_run, write_predicted_run, write_trained_run
from tests.test_outputs import IMAGES, make_image
from tests.test_outputs_study_pages import write_pages

pytestmark = pytest.mark.slow

#: A laptop and a telephone, in pixels.
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
#: What axe calls a failure that a person would meet; "moderate" and "minor" are advice.
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def axe() -> str:
    try:
        found = [file for file in files("axe-playwright-python") or () if file.name == "axe.min.js"]
    except PackageNotFoundError:
        pytest.skip("needs axe-core: make test-pages")
    return found[0].read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: make test-pages")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium and its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_script_timeout(300)  # axe on a busy machine
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def pages(images: Path, datalist_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("browser")
    other = make_image("c1", "C", negative=0.2, flags=("whole_image", "no_lungs", "burned_in_annotation"))
    rejected = {"image_id": "r", "study_id": "A", "reason": "truncated", "path": "r.dcm", "detail": "ends early"}
    write_pages(folder / "inference", [*IMAGES, other], [rejected], point=OperatingPoint(0.5, "for a test"))
    named = [
        write_predicted_run(folder / "good", datalist_file, skill=1.5),
        write_predicted_run(folder / "bad", datalist_file, skill=1, seed=1),
        write_trained_run(folder / "baseline"),
        write_explained_run(folder / "explained", datalist_file),
    ]
    write_report(named, folder / "report.html", datalist_file, tree=images, num_cases=1, num_resamples=20)
    studies = folder / "inference" / "studies"
    index = folder / "inference" / "index.html"
    return {
        "index": index,
        "study": studies / "A.html",
        "flagged": studies / "C.html",
        "report": folder / "report.html",
    }


def show(browser: Any, page: Path, size: str = "wide", scheme: str = "light") -> None:
    width, height = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get_log("browser")
    browser.get(page.resolve().as_uri())


def count_rows(browser: Any, table: str) -> int:
    return browser.execute_script(f"return document.querySelectorAll('#{table} tbody tr:not([hidden])').length")


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "study", "flagged", "report"])
def test_axe_finds_nothing_serious(browser: Any, pages: dict[str, Path], axe: str, name: str, scheme: str):
    show(browser, pages[name], scheme=scheme)
    browser.execute_script(axe)
    found = browser.execute_async_script("axe.run(document).then(arguments[0])")
    faults = [
        {"rule": each["id"], "at": [node["html"][:120] for node in each["nodes"][:3]], "help": each["help"]}
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
    assert faults == [], json.dumps(faults, indent=1)
    assert len(found["passes"]) > 15, "axe looked at the page"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["index", "study", "flagged", "report"])
def test_a_page_opens_from_disk_without_an_error_and_fits_its_window(
    browser: Any, pages: dict[str, Path], name: str, size: str
):
    show(browser, pages[name], size)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= SIZES[size][0]
    broken = "return [...document.images].filter(i => i.loading !== 'lazy' && !(i.complete && i.naturalWidth)).length"
    assert browser.execute_script(broken) == 0
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [each for each in asked if not each.startswith(("file:", "data:", "blob:"))] == []


def test_the_index_is_searched_filtered_and_sorted(browser: Any, pages: dict[str, Path]):
    show(browser, pages["index"])
    assert count_rows(browser, "studies") == 3
    find(browser, "input[type=search]").send_keys("no lungs")
    assert count_rows(browser, "studies") == 1 and find(browser, ".filters output").text == "1 of 3"
    find(browser, "button[type=reset]").click()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert count_rows(browser, "studies") == 3
    find(browser, "input[name=suspicion]").send_keys("0.5")
    assert count_rows(browser, "studies") == 2
    find(browser, "button[type=reset]").click()
    header = find(browser, "#studies thead th:nth-child(3) button")
    header.send_keys("\n")  # by the keyboard
    order = [row.text.split()[0] for row in browser.find_elements("css selector", "#studies tbody tr")]
    assert order == ["B", "A", "C"], "ascending, because it was descending"
    assert find(browser, "#studies thead th:nth-child(3)").get_attribute("aria-sort") == "ascending"


def test_layers_of_a_study_are_switched_on_and_off(browser: Any, pages: dict[str, Path]):
    show(browser, pages["study"])
    for name, selector in (("boxes", "rect.box"), ("mask", "img.mask"), ("crop", "rect.crop")):
        displayed = f"return getComputedStyle(document.querySelector('{selector}')).display"
        assert browser.execute_script(displayed) != "none"
        find(browser, f"#{name}").send_keys(" ")
        assert browser.execute_script(displayed) == "none"


def test_the_theme_is_switched_and_figures_follow(browser: Any, pages: dict[str, Path]):
    show(browser, pages["report"])
    ground = "return getComputedStyle(document.body).backgroundColor"
    text = "return getComputedStyle(document.querySelector('.canvas text')).fill"
    light, written = browser.execute_script(ground), browser.execute_script(text)
    for _ in range(2):  # system, light, dark
        find(browser, "#theme").click()
    assert find(browser, "#theme").text == "Theme: dark"
    assert browser.execute_script(ground) != light and browser.execute_script(text) != written


def test_figures_are_drawn_and_studies_filtered(browser: Any, pages: dict[str, Path]):
    show(browser, pages["report"])
    assert browser.execute_script("return document.querySelectorAll('.canvas .main-svg').length") >= 6
    whole = count_rows(browser, "study-table")
    find(browser, "form[data-table=study-table] input[name=wrong]").send_keys(" ")
    wrong = browser.execute_script("return document.querySelectorAll('#study-table tr[data-wrong]').length")
    assert 0 < count_rows(browser, "study-table") == wrong < whole


def test_the_report_prints_without_its_controls(browser: Any, pages: dict[str, Path]):
    show(browser, pages["report"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    for selector in (".filters", "nav.parts", "#theme"):
        assert (
            browser.execute_script(f"return getComputedStyle(document.querySelector('{selector}')).display") == "none"
        )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
