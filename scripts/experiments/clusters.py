"""Runs of a plan side by side on a Ray cluster: a GPU for each, and begun again where they were lost."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from monai.utils import optional_import
from scripts.errors import InputError
from scripts.experiments.running import FailedRun

T = TypeVar("T")

#: Environment of a local cluster, unless it is set otherwise: nothing is reported to anyone, and what a worker that was
#: killed had started ends with it, since a training that lives on would hold its folder against the next try. A token
#: of its own is added: Ray would leave one at home.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_process_group_cleanup_enabled": "1"}

#: Of the store of objects that a local cluster keeps in memory: here arguments and paths only go through it.
STORE_BYTES = 80_000_000


@dataclass(frozen=True)
class RayCluster:
    """Calls of a series as tasks of Ray, as many at a time as there are GPUs, or cores where there is none.

    A call finds the folders, the data and this environment under the same paths on every machine. What it has done
    already it must not do again: one whose run fails or whose worker is lost is made again.

    Args:
        address: of a cluster ("auto", "host:6379", "ray://host:10001"); None: one of this machine, for these calls.
        retries: so often a call is made again, before its failure is that of the series.
    """

    address: str | None = None
    retries: int = 2

    def __call__(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Results in the order of the calls; where one fails, the others are finished first.

        Raises:
            InputError: where Ray is not installed, there is no such cluster, or a call fails.
        """
        with self.connect() as ray:
            options = {"max_retries": self.retries, "retry_exceptions": [FailedRun], **list_resources(ray.nodes())}
            task = ray.remote(_call_in_folder).options(**options)
            return _collect(ray, [task.remote(call, os.getcwd()) for call in calls], self.retries)

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Join the cluster, or begin it, and leave it in the end; one that this process is in already is used.

        Gives the package ray.

        Raises:
            InputError: where Ray is not installed, or there is no such cluster.
        """
        ray, installed = optional_import("ray")  # here, as it takes a second, and most have no use for it
        if not installed:
            raise InputError("the package ray for --ray", "none installed", "install it: pip install ray")
        if ray.is_initialized():
            yield ray
            return
        self._begin(ray)
        try:
            yield ray
        finally:
            ray.shutdown()

    def _begin(self, ray: Any) -> None:
        """Join or begin the cluster; a local one more often, as Ray gives it half a minute only."""
        for more in range(0 if self.address else 3, -1, -1):
            try:
                ray.init(**self._describe())
                return
            except Exception as error:  # a plain one where a local cluster begins too late
                ray.shutdown()
                found = f"none at {self.address or 'this machine'} ({type(error).__name__}: {error})"[:200]
                if not more:
                    advice = "begin one with ray start, or say --ray alone"
                    raise InputError("a Ray cluster", found, advice) from None

    def _describe(self) -> dict[str, Any]:
        common = {"runtime_env": {"env_vars": {"PYTHONPATH": _list_paths()}}, "log_to_driver": False}
        if self.address is not None:
            return {**common, "address": self.address}
        for name, value in {**SETTINGS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            os.environ.setdefault(name, value)
        return {**common, "address": "local", "include_dashboard": False, "object_store_memory": STORE_BYTES}


def list_resources(nodes: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Resources of one run: a GPU and the cores that come with one; a core where the cluster has no GPU.

    Ray gives a run's processes as many threads as cores, and shows them their own GPU only.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    if not machines:
        return {"num_cpus": 1, "num_gpus": 0}
    return {"num_cpus": max(1, min(int(each.get("CPU", 1) // each["GPU"]) for each in machines)), "num_gpus": 1}


def _list_paths() -> str:
    """The folders that this process imports from, which a worker is to import from too."""
    return os.pathsep.join([os.getcwd(), *(path for path in sys.path if path and os.path.isdir(path))])


def _call_in_folder(call: Callable[[], T], folder: str) -> T:
    """Make a call where the series was begun: paths of configs are relative."""
    os.chdir(folder)
    return call()


def _collect(ray: Any, references: Sequence[Any], retries: int) -> list[Any]:
    results, failures = [], []
    for reference in references:
        try:
            results.append(ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            failures.append(error.cause if isinstance(error.cause, InputError) else error)
        except ray.exceptions.RayError as error:
            found = f"{type(error).__name__} after {retries} more tries"
            advice = "see to memory and machines; the same command goes on with what is left"
            failures.append(InputError("a worker that lives until its run ends", found, advice))
    if failures:
        raise failures[0]
    return results
