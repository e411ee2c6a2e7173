"""Research verbs of the command line: synthetic images, experiments, reports, release. No release packs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.verbs import list_values


def generate_synthetic(
    out: str,
    num_studies: int = 60,
    num_test_studies: int = 12,
    size: int = 512,
    seed: int = 0,
    workers: int = 2,
    broken: bool = False,
    sheet: str | None = None,
) -> str:
    """Draw a tree of synthetic chest radiographs with the challenge's tables, and a contact sheet of it by option.

    Example: python -m scripts generate-synthetic --out runs/images
    """
    from scripts.synthetic import draw_contact_sheet, generate_tree

    generate_tree(out, num_studies, num_test_studies, size, seed, workers, broken)
    if sheet is not None:
        draw_contact_sheet(out, sheet)
    return f"drew {num_studies} studies with labels and {num_test_studies} without under {out}"


def add_external(datalist: str, tree: str, external: str, external_tree: str, out: str, workers: int = 2) -> str:
    """Write a datalist with the images of an external one; duplicates, and known studies and patients, are left out.

    Example: python -m scripts add-external runs/prepared/datalist.json --tree runs/images --external
        B/datalist.json --external_tree B --out runs/both
    """
    from scripts.preparation import add_external as add_images

    added = add_images(datalist, tree, external, external_tree, out, workers)
    decisions = ", ".join(f"{name} {count}" for name, count in added.num_decisions.items()) or "none"
    return f"{added.num_images} external images: {added.datalist}\nleft out ({decisions}): {added.decisions}"


def label_external(datalist: str, predictions: str | list[str], runs: str | list[str], out: str) -> str:
    """Label external images, each fold by the runs that held it out; several are written "['a','b']".

    Example: python -m scripts label-external runs/both/datalist.json --predictions "['a','b']" --runs "['c','d']"
        --out runs/labels
    """
    from scripts.pseudo_labels import label_external as label_images

    labelled = label_images(datalist, list_values(predictions), list_values(runs), out)
    folds = ", ".join(f"{fold} by {len(models)} models" for fold, models in labelled.items())
    return f"labels for fold {folds}: {out}/datalist.json"


def find_lungs(
    datalist: str,
    tree: str,
    out: str,
    fold: int | list[int] | None = None,
    weights: str | None = None,
    config: str = "bundle/configs/inference.json",
    sheet: str | None = None,
) -> str:
    """Find the lungs of a fold, and of the images without label; write a datalist with their boxes, and lungs.csv.

    --fold "[0,1,2,3,4]": of all folds, by a detector that was trained on other data, as the shipped one. --sheet draws
    the images on which found and annotated boxes differ most, or the least sure ones where none is annotated; it
    shows images, so keep it where they are.

    Example: python -m scripts find-lungs --datalist runs/prepared/datalist.json --tree runs/images --out
        runs/detected_lungs --fold 0
    """
    from scripts.inferers import read_lung_inferer
    from scripts.preparation.lungs import find_lungs

    found = find_lungs(read_lung_inferer(config, weights), datalist, tree, out, fold, sheet)
    flagged = sum(bool(each.flags) for each in found.values())
    return f"found the lungs of {len(found)} images, {flagged} flagged: {out}/datalist.json, {out}/lungs.csv"


def evaluate_lungs(lungs: str, ground_truth: str, fold: int | None = None) -> str:
    """Compare the boxes of lungs.csv with the annotated ones of a datalist.

    Example: python -m scripts evaluate-lungs runs/detected_lungs/lungs.csv --ground_truth
        runs/prepared/datalist.json --fold 0
    """
    from scripts.metrics import report_lungs

    return report_lungs(lungs, ground_truth, fold)


def fit_none(predictions: str, ground_truth: str, fold: int | None = None) -> str:
    """Fit the weight of p(negative) in the class none on the predictions.json of images that were not trained on.

    Example: python -m scripts fit-none runs/evaluation/predictions.json --ground_truth runs/prepared/datalist.json
        --fold 0
    """
    from scripts.ensembles import report_none_blend

    return report_none_blend(predictions, ground_truth, fold)


def evaluate_reliability(
    *predictions: str,
    ground_truth: str,
    out: str,
    members: str | list[str] = (),  # type: ignore[assignment]
    metadata: str | None = None,
    num_resamples: int = 1000,
) -> str:
    """Measure calibration, uncertainty, selective prediction and subgroups of predictions.json, one a fold; two PNGs.

    --members A,B: predictions of the same images by other seeds or networks, for what they disagree about. --metadata
    FILE: a CSV with the column image_id and any others, for more subgroups.

    Example: python -m scripts evaluate-reliability runs/evaluation/predictions.json --ground_truth
        runs/prepared/datalist.json --out runs/reliability
    """
    from scripts.metrics.reliability import report_reliability

    return report_reliability(predictions, ground_truth, out, members, metadata, num_resamples=num_resamples)


def extract_metadata(datalist: str, tree: str, out: str) -> str:
    """Write the images' metadata as a CSV for `evaluate-reliability`; nothing that identifies a person.

    Example: python -m scripts extract-metadata runs/prepared/datalist.json --tree runs/images --out
        runs/metadata.csv
    """
    from scripts.preparation import write_metadata_table

    written, rejected = write_metadata_table(datalist, tree, out)
    return f"wrote the metadata of {written} images, {rejected} say none: {out}"


def cross_validate(
    config: str | list[str] = "bundle/configs/train.json",
    out: str = "runs/crossvalidation",
    folds: int | list[int] = (0, 1, 2, 3, 4),  # type: ignore[assignment]
    seed: int = 0,
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    ray: str | bool = False,
    slots: int = 1,
    **options: object,
) -> str:
    """Train each fold of a configuration, and score all images by networks that did not see them; resumes.

    --slots 5: folds at a time on this machine. --ray: side by side, a GPU each, or a core; --ray ADDRESS: on a Ray
    cluster that is there. Further options go to every run: --image_size 128 --epochs 4 --cache_dir runs/cache.

    Example: python -m scripts cross-validate --image_size 128 --epochs 4
    """
    from scripts.experiments import crossvalidate

    plan = _plan_runs(datalist, tree, ray, slots, options)
    return crossvalidate(plan, list_values(config), Path(out), list_values(folds), seed)


def run_ablation(
    out: str = "runs/ablation",
    experiments: str | list[str] | None = None,
    folds: int | list[int] = 0,
    seeds: int | list[int] = (0, 1, 2),  # type: ignore[assignment]
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    ray: str | bool = False,
    slots: int = 1,
    finished: bool = False,
    **options: object,
) -> str:
    """Measure the gain of each experiment with its noise: train what is missing, then compare; resumes.

    --experiments baseline,whole_image,whole_image+no_auxiliary: combinations of overrides in experiments/, joined by
    "+". --slots 4: trainings at a time on this machine. --ray: side by side, a GPU each, or a core; --ray ADDRESS: on
    a Ray cluster that is there. --finished: train nothing, and report the seeds of each row that are done. Further
    options go to every run.

    Example: python -m scripts run-ablation --experiments baseline,whole_image --seeds 0
    """
    from scripts.experiments import COMBINATIONS, ablate

    plan = _plan_runs(datalist, tree, ray, slots, options)
    rows = list_values(experiments or COMBINATIONS)
    return ablate(plan, Path(out), rows, list_values(folds), list_values(seeds), finished=finished)


def screen(
    tree: str,
    out: str,
    config: str = "bundle/configs/inference.json",
    shard_size: int = 1000,
    table_format: str = "csv",
    part: str = "1/1",
    ray: str | None = None,
    workers: int = 1,
    **options: object,
) -> str:
    """Screen an archive of any size, shard by shard, into tables; the same command goes on behind a kill.

    --table_format parquet. --part 2/4: one of four processes or machines that share --out. --ray local, or a cluster's
    address, with --workers N. Further options go to the config: --num_workers 2 --runtime openvino.

    Example: python -m scripts screen --tree ARCHIVE --out runs/screening
    """
    from scripts.screening import screen_archive

    done = screen_archive(
        tree, out, config, shard_size, table_format, part, ray, workers, dict(options), report=_print_line
    )
    counts = f"{done.files} files, {done.images} scored, {done.rejected} rejected"
    return f"{done.shards} of {done.num_shards} shards are done, {counts}: {out}/parts"


def make_weights(
    *parts: str,
    recipe: str = "scripts/recipe/shipped.json",
    out: str = "runs/weights",
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    external_tree: str | None = None,
    models: str = "bundle/models",
    slots: int = 1,
    minutes: float | None = None,
    plan_only: bool = False,
    **options: object,
) -> str:
    """Train all that is shipped, or the parts that are named, with what they need; resumes.

    --external_tree FOLDER: unlabelled images that students learn from too. --slots 5: trainings at a time, on one GPU.
    --minutes 8: no part is begun after that. --plan_only: print parts and cost. Further options go to every run.

    Example: python -m scripts make-weights --plan_only
    """
    from scripts.experiments import Plan
    from scripts.recipe import add_unlabelled, describe_plan, start_forked
    from scripts.recipe import make_weights as make

    if external_tree is not None:
        datalist = str(add_unlabelled(datalist, tree, external_tree, Path(out) / "unlabelled"))
    plan = Plan(Path(datalist), Path(tree), options, start=start_forked)
    if plan_only:
        return describe_plan(recipe, plan, parts)
    return make(recipe, plan, out, external_tree, models, parts, slots, minutes, _print_line)


def list_experiments(*runs: str, out: str = "runs/registry", leaderboard: str | None = None) -> str:
    """List all runs below the folders as experiments.csv, a figure of the gains, and TensorBoard's files.

    An earlier experiments.csv among the folders brings its runs too. --leaderboard FILE: a CSV with the columns name
    and score.

    Example: python -m scripts list-experiments runs
    """
    from scripts.experiments import draw_gains, find_records, group_runs, read_leaderboard, write_registry

    found = find_records(*(runs or ("runs",)))
    reported = write_registry(found, out, read_leaderboard(leaderboard) if leaderboard else None)
    draw_gains(group_runs(list(found.values())), Path(out) / "gains.png")
    return f"{reported}\n\n{out}: experiments.csv, gains.png, tensorboard"


def plot_losses(out: str, **groups: object) -> str:
    """Draw training and validation loss of runs: --with_mask "[runs/a,runs/b]" --without "[runs/c,runs/d]".

    Example: python -m scripts plot-losses --out runs/losses.png --with_mask "[runs/a]" --without "[runs/b]"
    """
    from scripts.experiments import draw_losses
    from scripts.run_records import read_history

    named = {
        name.replace("_", " "): [read_history(str(run)) for run in list_values(runs)] for name, runs in groups.items()
    }
    draw_losses(named, out)
    return f"drew {sum(map(len, named.values()))} runs: {out}"


def evaluate_ensemble(
    ground_truth: str, fold: int | list[int] | None = None, out: str | None = None, **members: object
) -> str:
    """Measure the gain of an ensemble: --NAME predictions.json for each member, a list of files for several folds.

    Example: python -m scripts evaluate-ensemble --ground_truth runs/prepared/datalist.json --b0 a.json --lite0
        b.json
    """
    from scripts.ensembles import report_ensemble

    named = {name: [str(path) for path in list_values(paths)] for name, paths in members.items()}
    return report_ensemble(named, ground_truth, fold, out)


def report(
    *runs: str,
    out: str = "runs/report.html",
    ground_truth: str | None = None,
    fold: int | list[int] | None = None,
    tree: str | None = None,
    pictures: bool = True,
    threshold: float | None = None,
    metadata: str | None = None,
    num_cases: int = 4,
    num_resamples: int = 1000,
) -> str:
    """Write one HTML file on evaluations, trainings and explanations: scores, curves, differences, best and worst.

    --ground_truth datalist.json scores the runs, the first one is what others are compared with. --tree FOLDER shows
    images, --pictures false leaves them out.

    Example: python -m scripts report runs/evaluation runs/training --ground_truth runs/prepared/datalist.json
    """
    from scripts.reports import write_report

    return write_report(runs, out, ground_truth, fold, tree, pictures, threshold, metadata, num_cases, num_resamples)


def release(out: str = "dist", large_files_url: str | None = None, checks: bool = True) -> str:
    """Pack the bundle for the model zoo, and check it unpacked in another folder; each check stands in release.log.

    Example: python -m scripts release
    """
    from scripts.release import assemble_release, run_checks

    packed = assemble_release(".", out, large_files_url)
    if not checks:
        return f"{packed.folder}, {packed.archive}, not checked"
    reported = run_checks(packed, ".", Path(out) / "release.log")
    return f"{reported}\n{packed.folder}, {packed.archive} ({packed.archive.stat().st_size / 1e6:.1f} MB)"


def _plan_runs(datalist: str, tree: str, ray: str | bool, slots: int, options: dict[str, object]) -> Any:
    """A plan whose runs are made so many at a time, or on a Ray cluster: of this machine, or of an address."""
    from scripts.experiments import Plan, RayCluster

    if ray is False:
        return Plan(Path(datalist), Path(tree), options).side_by_side(slots)
    if slots != 1:
        from scripts.errors import InputError

        raise InputError("--ray or --slots", "both", "leave one out: Ray counts GPUs and cores by itself")
    return Plan(Path(datalist), Path(tree), options, make_all=RayCluster(None if ray is True else str(ray)))


def _print_line(line: str) -> None:
    """Print a line of progress at once, also into a log."""
    print(line, flush=True)  # noqa: T201  (the command line's own output)


#: In the order of the work.
VERBS: tuple[Callable[..., str], ...] = (
    generate_synthetic,
    add_external,
    label_external,
    find_lungs,
    evaluate_lungs,
    fit_none,
    evaluate_reliability,
    extract_metadata,
    cross_validate,
    run_ablation,
    screen,
    make_weights,
    list_experiments,
    plot_losses,
    evaluate_ensemble,
    report,
    release,
)
