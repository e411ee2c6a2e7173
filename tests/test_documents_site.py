"""The documents as a site: pages written from what they describe, a build without a warning, nothing from afar."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from apps.site.configs import ABOUT, read_config, write_page
from apps.site.drawings import DRAWINGS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "bundle" / "docs"
NOTEBOOK = DOCS / "tutorial.ipynb"
MAX_NOTEBOOK_BYTES = 1_000_000


@pytest.mark.parametrize("name", ["train", "inference"])
def test_every_key_of_a_config_is_explained_and_nothing_else(name: str):
    config, page = read_config(f"{name}.json"), (DOCS / "configs.md").read_text(encoding="utf-8")
    assert config[ABOUT].keys() <= config.keys()
    explained = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert {key for key in config if not key.startswith("_")} <= explained


def test_the_page_of_the_configs_is_what_they_say_of_themselves():
    advice = "run python -m apps.site.configs bundle/docs/configs.md"
    assert (DOCS / "configs.md").read_text(encoding="utf-8") == write_page(), advice


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_what_its_code_draws(name: str):
    advice = "run python -m apps.site.drawings bundle/docs/images"
    assert (DOCS / "images" / name).read_text(encoding="utf-8") == DRAWINGS[name](), advice


def list_texts() -> str:
    """Texts of the code, those of a line that is continued joined, with {} for what is put in."""
    texts = []
    for path in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_every_message_of_the_troubleshooting_is_one_of_the_code():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    texts = list_texts()
    assert len(messages) > 15
    assert [message for message in messages if message not in texts] == []


def list_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_small_and_holds_no_error():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert len(list_cells()) > 5 and NOTEBOOK.stat().st_size < MAX_NOTEBOOK_BYTES
    assert [output for output in outputs if output["output_type"] == "error"] == []


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path):
    """Its cells one after the other in one process, as a kernel runs them, with results in a folder of the test."""
    code = "\n\n".join(list_cells()).replace('Path("runs/notebook")', f"Path({str(tmp_path / 'notebook')!r})")
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in (
        "prepared/datalist.json",
        "training/history.json",
        "evaluation/submission.csv",
        "inference/studies.csv",
    ):
        assert (tmp_path / "notebook" / name).is_file()


class Sources(HTMLParser):
    """Addresses that a page loads by itself; links that a reader may follow are none."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loaded.append(given.get("href") or "")
        elif tag in ("script", "img", "iframe", "source"):
            self.loaded.append(given.get("src") or "")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_afar(tmp_path: Path):
    pytest.importorskip("material", reason="needs the extra docs: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", "apps/site/mkdocs.yml"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = list((tmp_path / "site").rglob("*.html"))
    names = {path.name for path in pages}
    assert {"index.html", "model_card.html", "radiologist.html", "engineer.html", "researcher.html"} <= names
    for page in pages:
        sources = Sources()
        sources.feed(page.read_text(encoding="utf-8"))
        assert sources.loaded and not [each for each in sources.loaded if re.match(r"(https?:)?//", each)]
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8"))
