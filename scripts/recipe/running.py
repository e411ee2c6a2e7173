"""Runs the parts of a recipe: several at once, each after what it needs; what is done already is not done again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.checkpoints import ship_weights
from scripts.datalist import Prediction, read_datalist, write_soft_labels
from scripts.experiments import WEIGHTS, Plan
from scripts.files import write_text
from scripts.outputs import read_prediction_table
from scripts.recipe.parts import Part, Recipe, name_part, read_recipe
from scripts.run_records import read_history

PREDICTIONS = "predictions_table.json"
SOFT_LABELS = "soft_labels.json"
TIMES = "times.json"
#: Epochs between validations of a training that holds nothing out.
NEVER = 1_000_000


@dataclass(frozen=True)
class RecipeRun:
    """One run of a recipe: its data, folders and time limit.

    Args:
        plan: data and common options of the trainings.
        recipe: its parts.
        out: folder; a part has the folder of its name in it.
        external_dir: the tree of the external images, or None.
        models: folder of the weights that are shipped.
        deadline: seconds after which no further part is begun; None: none.
    """

    plan: Plan
    recipe: Recipe
    out: Path
    external_dir: Path | None
    models: Path
    deadline: float | None = None

    def fill_caches(self, num_folds: int, workers: int) -> None:
        """Prepare all images in each of the recipe's ways, by several processes; what is cached already is kept."""
        for number, (stack, options) in enumerate(self.recipe.caches):
            common = {"external_dir": self.external_dir} if self.external_dir else {}
            plan = self.plan.with_options({**options, **self.plan.options, **common, "num_workers": workers})
            plan.fill_cache(stack, self.out / f"cache{number}", list(range(num_folds)))

    def make(self, part: Part) -> None:
        """Train a part, predict what it never saw, and ship its weights where the recipe says so."""
        folder, start = self.out / part.name, time.monotonic()
        options = {**part.options, **self.plan.options}
        if not part.held_out:
            options["val_interval"] = NEVER
        if part.soft_labels:
            options["soft_labels_file"] = self._write_soft_labels(part, folder)
            options["external_dir"] = self.external_dir
        if part.encoder_from is not None:
            options["encoder_weights"] = self.out / name_part(part.encoder_from, part.held_out) / WEIGHTS
        plan = self.plan.with_options(options)
        weights = plan.train(part.stack, folder, part.fold, seed=0)  # type: ignore[arg-type]
        trained = time.monotonic()
        if part.held_out:
            external = self.external_dir if part.family in self.recipe.teachers else None
            plan.with_options({"external_dir": external}).predict(part.stack, weights, folder, part.fold, PREDICTIONS)
        if part.ship is not None:
            ship_weights(weights, self.models / part.ship)
        seconds = {"training": round(trained - start, 1), "prediction": round(time.monotonic() - trained, 1)}
        write_text(folder / TIMES, json.dumps(seconds) + "\n")

    def _write_soft_labels(self, part: Part, folder: Path) -> Path:
        """Write them anew each time: an old file would outlive teachers that were trained again."""
        teachers = [each for each in self.recipe.parts if each.family in part.soft_labels and each.name in part.needs]
        predictions = [read_prediction(self.out / each.name / PREDICTIONS, each.name) for each in teachers]
        path = folder / SOFT_LABELS
        write_soft_labels(path, read_datalist(self.plan.datalist_file), part.held_out, predictions)
        return path


def read_prediction(path: Path, name: str) -> Prediction:
    """Read the table of a classifier's predictions as what soft labels are made of."""
    table = read_prediction_table(path)
    probabilities = {image_id: row["probabilities"] for image_id, row in table["images"].items()}
    return Prediction(name, tuple(table["held_out"]), table["weights_sha256"], table["datalist_hash"], probabilities)


def describe_plan(recipe_file: str | Path, plan: Plan, names: Sequence[str] = ()) -> str:
    """Describe the parts that would be made, and their cost: images that go through a network, in millions at 256 px.

    Args and raises as `make_weights`.
    """
    datalist = read_datalist(plan.datalist_file)
    lines, total = [], 0.0
    for part in read_recipe(recipe_file, int(datalist["num_folds"])).select(names):
        options = {**part.options, **plan.options}
        cost = _count_images(part, datalist) * int(options["epochs"]) * (int(options["image_size"]) / 256) ** 2 / 1e6
        lines.append(f"{part.name:24} {options['epochs']:3} epochs at {options['image_size']} px  {cost:6.3f}")
        total += cost
    return "\n".join([*lines, f"{len(lines)} parts, {total:.2f} million images at 256 px"])


def _count_images(part: Part, datalist: Mapping[str, Any]) -> int:
    """Images of an epoch: the labelled ones of the other folds, each once, and a student's external ones."""
    labelled = [i for i in datalist["training"] if i["fold"] not in part.held_out and i["duplicate_of"] is None]
    external = datalist.get("external", {}).get("images", []) if part.soft_labels else []
    return len(labelled) + len(external)


def make_weights(
    recipe_file: str | Path,
    plan: Plan,
    out: str | Path,
    external_dir: str | Path | None = None,
    models: str | Path = "bundle/models",
    names: Sequence[str] = (),
    slots: int = 1,
    minutes: float | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> str:
    """Make the weights of a recipe; resumes, and stops to begin parts when its time is over.

    Args:
        recipe_file: the recipe.
        plan: data and common options of the trainings.
        out: folder of all trainings.
        external_dir: the tree of the datalist's external images, or None.
        models: folder of the weights that are shipped.
        names: parts or families to make, with what they need; all by default.
        slots: trainings at a time.
        minutes: after which no further part is begun.
        report: takes a line of progress.

    Returns:
        What was made, in plain text.

    Raises:
        InputError: where the recipe is wrong or a training fails; other parts that are running end first.
    """
    num_folds = int(read_datalist(plan.datalist_file)["num_folds"])
    recipe = read_recipe(recipe_file, num_folds)
    parts = recipe.select(names)
    run = RecipeRun(
        plan=plan,
        recipe=recipe,
        out=Path(out),
        external_dir=Path(external_dir) if external_dir else None,
        models=Path(models),
        deadline=None if minutes is None else time.monotonic() + 60 * minutes,
    )
    run.fill_caches(num_folds, os.cpu_count() or 1)
    report(f"{len(parts)} parts, {slots} at a time: {', '.join(part.name for part in parts)}")
    left = _run_in_order(run, parts, slots, report)
    made = len(parts) - len(left)
    return f"{made} of {len(parts)} parts made" + (f"; not begun: {', '.join(left)}" if left else "")


def _run_in_order(run: RecipeRun, parts: Sequence[Part], slots: int, report: Callable[[str], None]) -> list[str]:
    """Run each part when those that it needs are done; names of the parts that were not begun."""
    start, waiting, done = time.monotonic(), list(parts), set[str]()
    running: dict[Future[None], Part] = {}
    failed: list[BaseException] = []
    with ThreadPoolExecutor(max_workers=slots) as pool:
        while True:
            late = run.deadline is not None and time.monotonic() > run.deadline
            ready = [part for part in waiting if set(part.needs) <= done] if not (late or failed) else []
            for part in ready[: slots - len(running)]:
                waiting.remove(part)
                running[pool.submit(run.make, part)] = part
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                part = running.pop(future)
                if (error := future.exception()) is not None:
                    failed.append(error)
                    report(f"{part.name} failed: {error}")
                    continue
                done.add(part.name)
                report(f"{time.monotonic() - start:6.0f} s  {part.name}  {_read_score(run.out / part.name)}")
    if failed:
        raise failed[0]
    return [part.name for part in waiting]


def _read_score(folder: Path) -> str:
    """The last metrics of a training, in short."""
    named = [row for row in read_history(folder) if {"study_map", "box_ap"} & set(row)]
    if not named:
        return ""
    return " ".join(f"{name} {named[-1][name]:.4f}" for name in ("study_map", "box_ap") if name in named[-1])
