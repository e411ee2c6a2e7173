"""Status page and Prometheus metrics on loopback: numbers and states, nothing that names anybody."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from apps.pacs.admission import Archive
from apps.pacs.queue import QUIET, SCORED, SENT, STATES

COLUMNS = ("study", "state", "images", "version", "objects", "stored", "attempts", "last image", "seconds", "reason")
_SHOWN = 200
_LOCAL = ("127.0.0.1", "localhost")

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd}"
    "th{font-weight:600}.failed,.rejected{color:#a40000}.sent{color:#20652a}p{color:#555}"
)


class QueueCollector(Collector):
    """Metrics that are read from the queue when somebody asks.

    Args:
        archive: of the service.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def collect(self) -> Iterable[Any]:
        """Studies by state, objects by outcome, seconds of the steps of all studies that were sent."""
        studies = GaugeMetricFamily("pacs_studies", "Studies in the queue", labels=["state"])
        for state, number in self.archive.queue.count_states().items():
            studies.add_metric([state], number)
        yield studies
        admitted = CounterMetricFamily("pacs_objects", "Objects by outcome since the start", labels=["outcome"])
        for outcome, number in dict(self.archive.counts).items():
            admitted.add_metric([outcome], number)
        yield admitted
        steps = SummaryMetricFamily("pacs_step_seconds", "Seconds of each step of the studies sent", labels=["step"])
        for step, (count, seconds) in self.archive.queue.sum_steps().items():
            steps.add_metric([step], count, seconds)
        yield steps


def start_page(archive: Archive, port: int) -> ThreadingHTTPServer:
    """Serve `/` and `/metrics` on 127.0.0.1, in threads of their own."""
    registry = CollectorRegistry()
    registry.register(QueueCollector(archive))

    class Page(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.headers.get("Host", "").rpartition(":")[0] not in _LOCAL:
                self.send_error(403)  # a page of another name that leads here
            elif self.path == "/metrics":
                self._reply(generate_latest(registry), "text/plain; version=0.0.4")
            elif self.path == "/":
                self._reply(draw_page(archive).encode(), "text/html; charset=utf-8")
            else:
                self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is logged of who looked."""

        def _reply(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="page", daemon=True).start()
    return server


def list_rows(archive_queue: Any, states: tuple[str, ...] = STATES, limit: int = -1) -> Iterator[list[str]]:
    """Rows of the table of studies, for page and command line; columns as in `COLUMNS`."""
    for study in archive_queue.list_studies(states, limit):
        seconds = f"{study['sent_at'] - study['last_image_at']:.1f}" if study["state"] == SENT else ""
        waiting = study["state"] in (QUIET, SCORED) and study["due"] > time.time()
        yield [
            study["study_id"],
            study["state"] + (f", again in {study['due'] - time.time():.0f} s" if waiting else ""),
            *(str(study[name]) for name in ("images", "version", "objects", "stored", "attempts")),
            datetime.fromtimestamp(study["last_image_at"]).strftime("%Y-%m-%d %H:%M:%S"),
            seconds,
            study["reason"],
        ]


def draw_page(archive: Archive) -> str:
    """The page as HTML: the number of studies in each state, and the latest of them."""
    counts = "".join(f"<td>{number}</td>" for number in archive.queue.count_states().values())
    heads = "".join(f"<th>{state}</th>" for state in STATES)
    rows = "".join(_draw_row(row) for row in list_rows(archive.queue, limit=_SHOWN))
    columns = "".join(f"<th>{name}</th>" for name in COLUMNS)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=10>"
        f"<title>Chest X-ray COVID-19: studies</title><style>{_STYLE}</style><h1>Studies</h1>"
        "<p>Research use only. Not a medical device. Studies stand here by a hash of their UID.</p>"
        f"<table><tr>{heads}</tr><tr>{counts}</tr></table><h2>The latest {_SHOWN}</h2>"
        f"<table><tr>{columns}</tr>{rows}</table></html>"
    )


def _draw_row(row: list[str]) -> str:
    state = row[1].split(",")[0]
    return f"<tr class={state}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
