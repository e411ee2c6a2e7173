"""Overview of the command line and help of its verbs: a sentence, an example and the options, each on one screen.

fire's own help takes three lines an option, and says of a verb's purpose what it says of its options: their types.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, getdoc, signature
from typing import Any

from scripts.errors import InputError

Verb = Callable[..., str]

PROGRAM = "python -m scripts"
WIDTH = 100
VAR_POSITIONAL, VAR_KEYWORD = Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD

#: One meaning for one name, whatever the verb.
OPTIONS: dict[str, str] = {
    "accept_renderings": "read PNG and JPEG too",
    "accept_secondary_capture": "read DICOM Secondary Capture too",
    "against": "another submission, for paired differences",
    "broken": "add images that must be rejected",
    "bundle": "folder of the bundle",
    "checkpoint": "last.pt of a training",
    "checks": "run the checks of the packed bundle",
    "config": "config file; several as \"['a.json','b.json']\"",
    "contradictions": "reject, keep_label or keep_boxes: negative studies that have boxes",
    "datalist": "datalist.json of prepare",
    "experiments": "names in experiments/, combined by +",
    "external": "datalist.json of the external images",
    "external_tree": "folder of the external images",
    "finished": "report what is done, and train nothing",
    "fold": "fold whose images are used; all without it",
    "folds": "folds to hold out, one after the other",
    "format": "challenge, own, rsna, vindr, nih, coco or label: where tables do not show it",
    "ground_truth": "datalist.json of prepare, or a folder of the challenge's tables",
    "label_map": "JSON with the meaning of another data set's labels",
    "large_files_url": "where files above 25 MB will lie",
    "leaderboard": "CSV with the columns name and score",
    "lungs": "lungs.csv of find-lungs",
    "members": "predictions.json of other networks, for what they disagree about",
    "metadata": "CSV with the column image_id and any others, for more subgroups",
    "minutes": "begin no part after that",
    "models": "folder of the weights that are shipped",
    "num_cases": "best and worst studies that are shown",
    "num_folds": "folds of the cross-validation",
    "num_resamples": "bootstrap resamples of the intervals",
    "num_studies": "studies with labels",
    "num_test_studies": "studies without labels",
    "out": "file or folder to write",
    "part": "2/4 is the second of four processes that share --out",
    "parts": "parts or families to make, with what they need; all without a name",
    "pictures": "show images",
    "plan_only": "print parts and cost, train nothing",
    "predictions": "predictions.json of a run; several as \"['a','b']\"",
    "ray": "run side by side on Ray: alone, or a cluster's address",
    "recipe": "the parts and their configs",
    "runs": "folders of runs",
    "seed": "seed of all that is random",
    "seeds": "seeds, a training each",
    "shard_size": "files of a shard",
    "sheet": "PNG to draw the images into",
    "size": "pixels of the longer side",
    "slots": "trainings at a time, on one machine",
    "studies": "folder of images that MONAI Label serves",
    "submission": "submission.csv of a run",
    "table_format": "csv or parquet",
    "tables": "CSV of labels and boxes; without it the tree's own tables",
    "threshold": "operating point: least probability of a positive study",
    "tree": "folder of the images",
    "weights": "weights of the network, in place of the config's",
    "workers": "processes that read images",
}


def describe_verbs(verbs: Mapping[str, Verb], stages: Mapping[str, Sequence[str]]) -> str:
    """List verbs in the order of the work: name, sentence and example; those that are not here are left out."""
    lines = [f"{PROGRAM} VERB --option value ...    VERB --help lists the options of one."]
    for stage, names in stages.items():
        here = [verbs[name] for name in names if name in verbs]
        lines += ["", stage] if here else []
        for verb in here:
            lines += _wrap(f"{name_verb(verb):<21}{split_docstring(verb)[0]}", "  ", 23)
            lines.append(f"{'':<23}$ {split_docstring(verb)[2]}")
    return "\n".join(lines)


def describe_verb(verb: Verb) -> str:
    """Describe one verb: usage, sentence, options with their defaults, example."""
    sentence, more, example = split_docstring(verb)
    parameters = signature(verb).parameters.values()
    needed = [f"--{each.name} {each.name.upper()}" for each in parameters if _is_needed(each)]
    rest = [_name_rest(each) for each in parameters if each.kind is VAR_POSITIONAL]
    lines = [" ".join([PROGRAM, name_verb(verb), *rest, *needed, "[options]"]), "", *_wrap(sentence), *_wrap(more), ""]
    for each in parameters:
        lines += _wrap(f"{_name_option(each):<29}{_explain(each)}", "  ", 31)
    return "\n".join([*lines, "", f"$ {example}"])


def split_docstring(verb: Verb) -> tuple[str, str, str]:
    """First sentence, further text and example of a verb's docstring."""
    text, _, example = (getdoc(verb) or "").partition("\nExample: ")
    sentence, _, more = text.partition("\n")
    return sentence, " ".join(more.split()), " ".join(example.split())


def name_verb(verb: Verb) -> str:
    """The name of a verb as it is typed."""
    return verb.__name__.replace("_", "-")


def list_values(value: Any) -> list[Any]:
    """One value of the command line, or several; what fire leaves as one text ("a,b+c", "[a/b,c/d]") is taken apart."""
    if isinstance(value, str):
        return [part.strip(" '\"") for part in value.strip("[]()").split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


def reject_unknown_option(verb: Verb, arguments: Sequence[str]) -> None:
    """Compare the options with those of the verb, before it runs: fire compares them afterwards.

    Raises:
        InputError: where it has no such option; it names the nearest one.
    """
    parameters = signature(verb).parameters
    if any(each.kind is VAR_KEYWORD for each in parameters.values()):
        return
    for name in _list_names(arguments):
        if name not in parameters and name.removeprefix("no") not in parameters:
            nearest = get_close_matches(name, parameters, 1)
            advice = f"did you mean --{nearest[0]}?" if nearest else f"see {PROGRAM} {name_verb(verb)} --help"
            raise InputError(f"an option of {name_verb(verb)}", f"--{name}", advice)


def _list_names(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == "--":  # fire's own flags
            return
        if found := re.match(r"--([A-Za-z]\w[\w-]*)", argument):
            yield found[1].replace("-", "_")


def _is_needed(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind not in (VAR_POSITIONAL, VAR_KEYWORD)


def _name_rest(parameter: Parameter) -> str:
    return f"[{parameter.name.upper()} ...]"


def _name_option(parameter: Parameter) -> str:
    if parameter.kind is VAR_POSITIONAL:
        return _name_rest(parameter)
    return "--NAME VALUE" if parameter.kind is VAR_KEYWORD else f"--{parameter.name}"


def _explain(parameter: Parameter) -> str:
    if parameter.kind is VAR_KEYWORD:
        return "further options, as described above"
    meaning, default = OPTIONS.get(parameter.name, ""), parameter.default
    if default in (Parameter.empty, None, ()):
        return meaning + (" (needed)" if _is_needed(parameter) else "")
    return f"{meaning} ({_format_default(default)})"


def _format_default(default: object) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _wrap(text: str, indent: str = "", hanging: int = 0) -> list[str]:
    wrapper = textwrap.TextWrapper(WIDTH, indent, " " * hanging, break_on_hyphens=False, break_long_words=False)
    return wrapper.wrap(text)
