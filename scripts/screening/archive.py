"""Screening of a whole archive: shard after shard in this process, a fraction of them, or all by Ray Data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from monai.utils import optional_import
from scripts.errors import InputError
from scripts.screening.parts import check_format, count_done, is_done
from scripts.screening.plan import Plan, Shard, make_plan
from scripts.screening.shards import ShardScreener


@dataclass(frozen=True)
class Screened:
    """Numbers of shards done, of all shards, and of files, images and rejected files in those done."""

    shards: int
    num_shards: int
    files: int
    images: int
    rejected: int


def screen_archive(
    tree: str | Path,
    out: str | Path,
    config: str | Path,
    shard_size: int = 1000,
    table_format: str = "csv",
    part: str = "1/1",
    ray: str | None = None,
    workers: int = 1,
    options: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Screened:
    """Screen every file below a folder; the same call goes on where an earlier one was cut short.

    Args:
        tree: the archive.
        out: a folder of its own: plan.jsonl, parts/ and a record of each shard.
        config: of the inference.
        shard_size: files of a shard.
        table_format: "csv" or "parquet".
        part: "2/4": every fourth shard from the second on, for one of four processes or machines that share `out`.
        ray: address of a Ray cluster, or "local"; its machines see `tree` and `out` under the same paths.
        workers: processes on Ray, each with its own networks.
        options: of the config.
        report: takes a line for each shard.

    Raises:
        InputError: where the archive, the config, the weights or an option are others than when it began.
    """
    check_format(table_format)
    first, step = _read_part(part)
    screener = ShardScreener(config, tree, out, table_format, options or {})
    plan = make_plan(tree, out, shard_size, screener.identify())
    left = (shard for shard in plan.read(first, step) if not is_done(Path(out), shard))
    finished = _screen_here(screener, left) if ray is None else _screen_on_ray(screener, plan, left, ray, workers)
    _report_progress(finished, plan, Path(out), step, report)
    done = count_done(Path(out))
    return Screened(done["shards"], plan.num_shards, done["files"], done["images"], done["rejected"])


def _read_part(part: str) -> tuple[int, int]:
    number, _, total = part.partition("/")
    if not (number.isdigit() and total.isdigit() and 1 <= int(number) <= int(total)):
        raise InputError("a part such as 2/4", part[:80], "number the processes from 1 on")
    return int(number) - 1, int(total)


def _screen_here(screener: ShardScreener, shards: Iterable[Shard]) -> Iterator[int]:
    for shard in shards:
        screener.screen(shard)
        yield len(shard.files)


class _RayWorker:
    """A process of a cluster: numbers of shards and places of their lines in, numbers of files out."""

    def __init__(self, screener: ShardScreener, plan: Plan) -> None:
        self.screener, self.plan = screener, plan

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = self.plan.read_one(int(row["number"]), int(row["offset"]))
        self.screener.screen(shard)
        return {"files": len(shard.files)}


def _screen_on_ray(
    screener: ShardScreener, plan: Plan, shards: Iterable[Shard], address: str, workers: int
) -> Iterator[int]:
    """Fan shards out over the actors of Ray Data; one whose machine is lost is done again, from its journal."""
    ray, installed = optional_import("ray")
    if not installed:
        raise InputError("the package ray for --ray", "none installed", "pip install 'ray[data]', or leave --ray out")
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}}
    place = {"num_cpus": workers} if address == "local" else {"address": address}
    ray.init(runtime_env=environment, include_dashboard=False, log_to_driver=False, **place)
    try:
        data, _ = optional_import("ray.data")
        data.DataContext.get_current().enable_progress_bars = False
        numbers = [{"number": shard.number, "offset": shard.offset} for shard in shards]
        rows = data.from_items(numbers, override_num_blocks=max(1, len(numbers)))
        gpus = {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {}
        built = (screener, plan)
        for row in rows.map(_RayWorker, fn_constructor_args=built, concurrency=workers, **gpus).iter_rows():
            yield int(row["files"])
    finally:
        ray.shutdown()


def _report_progress(finished: Iterable[int], plan: Plan, out: Path, step: int, report: Callable[[str], None]) -> None:
    """A line for each shard: files done, rate of this call, and the time that the rest will take."""
    known, start, here = count_done(out), time.monotonic(), 0
    for number, files in enumerate(finished, known["shards"] + 1):
        here += files
        rate = here / max(time.monotonic() - start, 1e-9)
        done = known["files"] + here
        left = timedelta(seconds=round((plan.num_files - done) / step / rate))
        place = f"{done:,} of {plan.num_files:,} files, shard {number} of {plan.num_shards}"
        report(f"{place}, {rate:.3g} files/s, {left} left")
