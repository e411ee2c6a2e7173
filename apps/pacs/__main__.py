"""Command line of the PACS loop.

python -m apps.pacs serve --config pacs.toml     receive, score and send until it is stopped
python -m apps.pacs status --config pacs.toml    table of the studies
python -m apps.pacs retry --config pacs.toml     let failed studies go on: all of them, or --study ID
python -m apps.pacs forget --config pacs.toml --study ID    remove a study, its images and results here
"""

from __future__ import annotations

import logging

import fire
from scripts.errors import InputError, report_input_errors

CONFIG = "pacs.toml"


def serve(config: str = CONFIG) -> None:
    """Receive, score and send until SIGTERM or Ctrl-C.

    Args:
        config: file as apps/pacs/pacs.toml.
    """
    from apps.pacs.configuration import read_configuration
    from apps.pacs.service import Service

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("apps.pacs").setLevel(logging.INFO)
    Service(read_configuration(config)).run()


def status(config: str = CONFIG, state: str = "", limit: int = 50) -> str:
    """Table of the latest studies.

    Args:
        config: as for serve.
        state: of one state only.
        limit: rows at most; -1 for all.
    """
    from apps.pacs.configuration import read_configuration
    from apps.pacs.page import COLUMNS, list_rows
    from apps.pacs.queue import STATES
    from apps.pacs.service import open_queue

    if state and state not in STATES:
        raise InputError(f"one of the states {', '.join(STATES)}", state, "correct it")
    queue = open_queue(read_configuration(config))
    rows = [list(COLUMNS), *list_rows(queue, (state,) if state else STATES, limit)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts = ", ".join(f"{name} {number}" for name, number in queue.count_states().items())
    return "\n".join([*lines, "", counts])


def retry(config: str = CONFIG, study: str = "") -> str:
    """Let failed studies go on where they stood.

    Args:
        config: as for serve.
        study: id of one study, which may also be a rejected one; by default all that failed.
    """
    from apps.pacs.configuration import read_configuration
    from apps.pacs.queue import FAILED
    from apps.pacs.service import open_queue

    queue = open_queue(read_configuration(config))
    studies = [str(study)] if study else [row["study_id"] for row in queue.list_studies((FAILED,))]
    number = sum(queue.retry(each) for each in studies)
    if study and not number:
        raise InputError("a failed or rejected study", str(study), "see python -m apps.pacs status")
    return f"{number} studies go on"


def forget(config: str = CONFIG, study: str = "") -> str:
    """Remove a study from the queue, with its images and results here; what was sent stays where it is.

    Args:
        config: as for serve.
        study: its id.
    """
    from apps.pacs.admission import Archive
    from apps.pacs.configuration import read_configuration
    from apps.pacs.service import open_queue

    configuration = read_configuration(config)
    queue = open_queue(configuration)
    if not queue.forget(str(study)):
        raise InputError("the id of a study", str(study) or "none", "see python -m apps.pacs status")
    Archive(configuration, queue).remove(str(study))
    return f"study {study} is forgotten"


if __name__ == "__main__":
    report_input_errors()
    fire.Fire({"serve": serve, "status": status, "retry": retry, "forget": forget}, name="python -m apps.pacs")
