"""The door: `python -m scripts <verb>`. Arguments only, no logic; `--help` after a verb tells its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fire

from scripts.errors import tell_in_one_line


def draw(
    out: str,
    num_studies: int = 60,
    num_test_studies: int = 12,
    size: int = 512,
    seed: int = 0,
    workers: int = 2,
    broken: bool = False,
    sheet: str | None = None,
) -> str:
    """Draw a tree of synthetic chest films with the challenge's tables, and a contact sheet of it by option."""
    from scripts.synthetic import draw_contact_sheet, draw_tree

    draw_tree(out, num_studies, num_test_studies, size, seed, workers, broken)
    if sheet is not None:
        draw_contact_sheet(out, sheet)
    return f"drew {num_studies} studies with labels and {num_test_studies} without under {out}"


def prepare(
    tree: str,
    out: str,
    tables: str | None = None,
    num_folds: int = 5,
    seed: int = 0,
    workers: int = 2,
    accept_secondary_capture: bool = False,
    accept_renderings: bool = False,
) -> str:
    """Read and check a tree of films and its tables; write datalist.json and decisions.csv."""
    from scripts.datalist import prepare as prepare_datalist

    prepared = prepare_datalist(
        tree, out, tables, num_folds, seed, workers, accept_secondary_capture, accept_renderings
    )
    decisions = ", ".join(f"{name} {count}" for name, count in prepared.num_decisions.items()) or "none"
    return (
        f"{prepared.num_training} films with label of {prepared.num_patients} patients, {prepared.num_test} without: "
        f"{prepared.datalist}\ndecisions ({decisions}): {prepared.decisions}"
    )


def corrections(studies: str, out: str) -> str:
    """Write what was saved in MONAI Label's folder of films as a CSV, which `prepare --tables` takes."""
    from scripts.datalist import list_corrections

    listed = list_corrections(studies, out)
    return f"{listed.num_films} films with a corrected mask, {listed.num_without_class} without a class: {listed.table}"


def add_external(datalist: str, tree: str, external: str, external_tree: str, out: str, workers: int = 2) -> str:
    """Write a datalist with films of another one, of elsewhere; what is the same film, study or patient is left out."""
    from scripts.datalist import add_external as add_films

    added = add_films(datalist, tree, external, external_tree, out, workers)
    decisions = ", ".join(f"{name} {count}" for name, count in added.num_decisions.items()) or "none"
    return f"{added.num_films} films from elsewhere: {added.datalist}\nleft out ({decisions}): {added.decisions}"


def label_external(datalist: str, predictions: str | list[str], runs: str | list[str], out: str) -> str:
    """Label films from elsewhere, each fold by the runs that held it out; several are written "['a','b']"."""
    from scripts.pseudo_labels import label_external as label_films

    labelled = label_films(datalist, _list(predictions), _list(runs), out)
    folds = ", ".join(f"{fold} by {len(models)} models" for fold, models in labelled.items())
    return f"labels for fold {folds}: {out}/datalist.json"


def lungs(
    datalist: str,
    tree: str,
    out: str,
    fold: int | None = None,
    weights: str | None = None,
    config: str = "bundle/configs/inference.json",
    sheet: str | None = None,
) -> str:
    """Find the lungs of a fold, and of the films without label; write a datalist with their boxes, and lungs.csv.

    --sheet draws the films on which found and drawn boxes differ most; it shows films, so keep it where they are.
    """
    from scripts.inferers.datalists import find_lungs, read_lung_finder

    found = find_lungs(read_lung_finder(config, weights), datalist, tree, out, fold, sheet)
    flagged = sum(bool(each.flags) for each in found.values())
    return f"found the lungs of {len(found)} films, {flagged} flagged: {out}/datalist.json, {out}/lungs.csv"


def score_lungs(lungs: str, truth: str, fold: int | None = None) -> str:
    """Compare the boxes of lungs.csv with the drawn ones of a datalist."""
    from scripts.metrics import report_lungs

    return report_lungs(lungs, truth, fold)


def blend(predictions: str, truth: str, fold: int | None = None) -> str:
    """Fit the weight of p(negative) in the class none on the predictions.json of films that were not trained on."""
    from scripts.ensembles import report_none_blend

    return report_none_blend(predictions, truth, fold)


def score(
    submission: str,
    truth: str,
    fold: int | None = None,
    against: str | None = None,
    num_resamples: int = 1000,
    threshold: float | None = None,
) -> str:
    """Score a submission against a datalist or a folder of tables; --against another one for paired differences."""
    from scripts.metrics import report_score

    return report_score(submission, truth, fold, against, num_resamples, threshold)


def trust(
    *predictions: str,
    truth: str,
    out: str,
    members: str | list[str] = (),  # type: ignore[assignment]
    facts: str | None = None,
    num_resamples: int = 1000,
) -> str:
    """Calibration, uncertainty, selective prediction and subgroups of predictions.json, one of each fold; two PNGs.

    --members A,B: predictions of the same films by other seeds or networks, for what they disagree about. --facts FILE:
    a CSV with the column image_id and any others, for more subgroups.
    """
    from scripts.metrics.trust import report_trust

    return report_trust(predictions, truth, out, members, facts, num_resamples=num_resamples)


def facts(datalist: str, tree: str, out: str) -> str:
    """Write what the films of a datalist say about themselves as a CSV for `trust`; nothing that tells who it is."""
    from scripts.datalist import write_facts

    written, refused = write_facts(datalist, tree, out)
    return f"wrote the facts of {written} films, {refused} say none: {out}"


def crossvalidate(
    config: str | list[str] = "bundle/configs/train.json",
    out: str = "runs/crossvalidation",
    folds: int | list[int] = (0, 1, 2, 3, 4),  # type: ignore[assignment]
    seed: int = 0,
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/films",
    **options: object,
) -> str:
    """Train each fold of a configuration, and score all films by networks that did not see them; resumes.

    Further options go to every run: --image_size 128 --epochs 4 --cache_dir runs/cache.
    """
    from scripts.experiments import Plan, crossvalidate

    plan = Plan(Path(datalist), Path(tree), options)
    return crossvalidate(plan, _list(config), Path(out), _list(folds), seed)


def ablation(
    out: str = "runs/ablation",
    rows: str | list[str] | None = None,
    folds: int | list[int] = 0,
    seeds: int | list[int] = (0, 1, 2),  # type: ignore[assignment]
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/films",
    **options: object,
) -> str:
    """What each idea is worth, with its noise: trains what is missing, then compares; resumes.

    Rows are overlays of experiments/, joined by "+": --rows baseline,whole_film,whole_film+no_auxiliary. Further
    options go to every run.
    """
    from scripts.experiments import ROWS, Plan, ablate

    plan = Plan(Path(datalist), Path(tree), options)
    return ablate(plan, Path(out), _list(rows or ROWS), _list(folds), _list(seeds))


def experiments(*runs: str, out: str = "runs/ledger", leaderboard: str | None = None) -> str:
    """The ledger of all runs below the folders: experiments.csv, a picture of the gains, and TensorBoard's files.

    --leaderboard FILE: a CSV with the columns name and score.
    """
    from scripts.experiments import draw_gains, find_records, group_runs, read_leaderboard, write_ledger

    found = find_records(*(runs or ("runs",)))
    told = write_ledger(found, out, read_leaderboard(leaderboard) if leaderboard else None)
    draw_gains(group_runs(list(found.values())), Path(out) / "gains.png")
    return f"{told}\n\n{out}: experiments.csv, gains.png, tensorboard"


def losses(out: str, **groups: object) -> str:
    """Draw training and validation loss of runs: --with_mask "[runs/a,runs/b]" --without "[runs/c,runs/d]"."""
    from scripts.experiments import draw_losses, read_history

    named = {name.replace("_", " "): [read_history(str(run)) for run in _list(runs)] for name, runs in groups.items()}
    draw_losses(named, out)
    return f"drew {sum(map(len, named.values()))} runs: {out}"


def ensemble(truth: str, fold: int | list[int] | None = None, out: str | None = None, **members: object) -> str:
    """What averaging networks gains: --NAME predictions.json for each member, a list of files for several folds."""
    from scripts.ensembles import report_ensemble

    named = {name: [str(path) for path in _list(paths)] for name, paths in members.items()}
    return report_ensemble(named, truth, fold, out)


def ship(checkpoint: str, out: str = "bundle/models/model.pt") -> str:
    """Write the network of a training's checkpoint in half precision, with its SHA-256 beside it."""
    from scripts.checkpoints import ship_weights

    ship_weights(checkpoint, out)
    return f"wrote {out} ({Path(out).stat().st_size / 1e6:.1f} MB)"


def export(out: str, config: str = "bundle/configs/inference.json", **changes: object) -> str:
    """Write the three networks as TorchScript and ONNX, each compared with the eager one; --weights FILE and the like.

    ONNX is compared where onnxruntime is installed.
    """
    from scripts.exports import export_networks

    measured = export_networks(config, out, **changes)
    return f"wrote {', '.join(measured)} as .ts and .onnx, and how far they differ as exports.json: {out}"


def release(out: str = "dist", large_files_url: str | None = None, checks: bool = True) -> str:
    """Pack the bundle for the model zoo, and check it unpacked elsewhere; each check stands in release.log."""
    from scripts.release import assemble_release, run_checks

    packed = assemble_release(".", out, large_files_url)
    if not checks:
        return f"{packed.folder}, {packed.archive}, not checked"
    said = run_checks(packed, ".", Path(out) / "release.log")
    return f"{said}\n{packed.folder}, {packed.archive} ({packed.archive.stat().st_size / 1e6:.1f} MB)"


def _list(value: Any) -> list[Any]:
    """One value of the command line, or several; what fire leaves as one text ("a,b+c", "[a/b,c/d]") is taken apart."""
    if isinstance(value, str):
        return [part.strip(" '\"") for part in value.strip("[]()").split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


if __name__ == "__main__":
    tell_in_one_line()
    verbs = {
        "draw": draw,
        "prepare": prepare,
        "corrections": corrections,
        "add_external": add_external,
        "label_external": label_external,
        "lungs": lungs,
        "score_lungs": score_lungs,
        "score": score,
        "blend": blend,
        "trust": trust,
        "facts": facts,
        "crossvalidate": crossvalidate,
        "ablation": ablation,
        "experiments": experiments,
        "losses": losses,
        "ensemble": ensemble,
        "ship": ship,
        "export": export,
        "release": release,
    }
    fire.Fire(verbs, name="python -m scripts")
