"""Combinations of config overrides, and which of them change the evaluation only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import InputError
from scripts.run_records import BASELINE

#: The 17th-place solution [4]'s steps: crop x auxiliary loss, label smoothing, and test-time augmentation.
COMBINATIONS: tuple[str, ...] = (
    BASELINE,
    "auxiliary_1",
    "no_auxiliary",
    "whole_image",
    "whole_image+auxiliary_1",
    "whole_image+no_auxiliary",
    "label_smoothing_off",
    "tta_flips_1",
    "tta_flips_4",
)

#: What an override may change of an evaluation alone: a combination with such overrides uses the weights of the row
#: without them.
_EVALUATION_ONLY = {"_desc_", "output_dir", "tta_flips"}


@dataclass(frozen=True)
class Combination:
    """One combination of overrides; `trained` change the training, `seen` only its evaluation."""

    trained: tuple[str, ...]
    seen: tuple[str, ...]

    @property
    def name(self) -> str:
        return "+".join(self.overrides) or BASELINE

    @property
    def overrides(self) -> tuple[str, ...]:
        return (*self.trained, *self.seen)

    def list_files(self, configs: Path, evaluating: bool = False) -> list[str]:
        """Configuration files, one over the other."""
        files = [str(configs / "train.json")]
        for stem in self.overrides if evaluating else self.trained:
            files += [file for file in _stack(configs, f"experiments/{stem}.json") if file not in files]
        return files


def parse_combination(name: str, configs: Path) -> Combination:
    """A combination from its name.

    Raises:
        InputError: where an override is not in experiments/.
    """
    stems = [] if name == BASELINE else name.split("+")
    seen = []
    for stem in stems:
        path = configs / "experiments" / f"{stem}.json"
        if not path.is_file():
            known = ", ".join(sorted(each.stem for each in path.parent.glob("*.json")))
            raise InputError(f"an override among {known}", repr(stem)[:80], "correct the row")
        if set(json.loads(path.read_text(encoding="utf-8"))) <= _EVALUATION_ONLY:
            seen.append(stem)
    return Combination(tuple(stem for stem in stems if stem not in seen), tuple(seen))


def _stack(configs: Path, name: str) -> list[str]:
    """An override under all that it lies over by its own words ("Over X.json: ..."), train.json left out.

    Raises:
        InputError: where it lies over another whole config.
    """
    path = configs / name
    content = json.loads(path.read_text(encoding="utf-8"))
    if "bundle_root" in content:
        raise InputError("an override of train.json", f"one of {name}", "choose another row")
    over = re.match(r"Over (\S+\.json):", str(content.get("_desc_", "")))
    return [*(_stack(configs, over[1]) if over else []), str(path)]
