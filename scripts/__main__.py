"""The door: `python -m scripts <verb>`. Arguments only, no logic; `--help` after a verb tells its arguments."""

from __future__ import annotations

from pathlib import Path

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


def release(out: str = "dist", large_files_url: str | None = None) -> str:
    """Pack the bundle for the model zoo, and check it unpacked elsewhere; each check stands in release.log."""
    from scripts.release import assemble_release, run_checks

    packed = assemble_release(".", out, large_files_url)
    said = run_checks(packed, ".", Path(out) / "release.log")
    return f"{said}\n{packed.folder}, {packed.archive} ({packed.archive.stat().st_size / 1e6:.1f} MB)"


if __name__ == "__main__":
    tell_in_one_line()
    verbs = {
        "draw": draw,
        "prepare": prepare,
        "lungs": lungs,
        "score_lungs": score_lungs,
        "score": score,
        "blend": blend,
        "ship": ship,
        "export": export,
        "release": release,
    }
    fire.Fire(verbs, name="python -m scripts")
