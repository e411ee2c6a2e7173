"""Parts of a recipe: one training each, of a family of networks and the folds that it never sees.

A recipe is a JSON file:

    configs    folder of the config files, relative to the working directory
    caches     list of {"stack", "options"}: images are prepared so, once, before any training; optional
    families   name -> a family:
        stack        config files, one over the other
        options      top-level names of the configs that the family sets
        held_out     which trainings there are: "folds" (one a fold), "pairs" (one for two folds each), "all" (nothing
                     held out); several of them in a list
        soft_labels  families whose predictions the family learns from; optional
        encoder_from family whose encoder, with the same folds held out, this one begins with; optional
        ship         file names of weights in half precision, by what is held out ("all", "fold0"); optional
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from scripts.errors import InputError

_KEYS = {"stack", "options", "held_out", "soft_labels", "encoder_from", "ship"}
_KINDS = ("folds", "pairs", "all")


@dataclass(frozen=True)
class Part:
    """One training, and the prediction of what it never saw.

    Args:
        family: of the recipe.
        held_out: the folds that it never sees, sorted; empty: it sees all.
        stack: config files, one over the other.
        options: top-level names of the configs.
        soft_labels, encoder_from: of the family.
        ship: file name of its weights in half precision; None: they are not shipped.
        needs: names of the parts that come first.
    """

    family: str
    held_out: tuple[int, ...]
    stack: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    soft_labels: tuple[str, ...] = ()
    encoder_from: str | None = None
    ship: str | None = None
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return name_part(self.family, self.held_out)

    @property
    def fold(self) -> int | list[int]:
        """The folds held out as the configs take them; an empty list: none, as MONAI's command line leaves out None."""
        return self.held_out[0] if len(self.held_out) == 1 else list(self.held_out)


@dataclass(frozen=True)
class Recipe:
    """All parts of a recipe, each behind those that it needs.

    Args:
        parts: the trainings.
        caches: stack and options of each way in which images are prepared, before any training.
    """

    parts: tuple[Part, ...]
    caches: tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...] = ()

    @property
    def teachers(self) -> set[str]:
        """Families whose predictions others learn from: they label the external images as well."""
        return {family for part in self.parts for family in part.soft_labels}

    def select(self, names: Sequence[str]) -> tuple[Part, ...]:
        """Select parts by name or family, with all that they need; without names, all of them.

        Raises:
            InputError: where a name is neither.
        """
        known = {part.name for part in self.parts} | {part.family for part in self.parts}
        for name in names:
            if name not in known:
                raise InputError(f"parts among {', '.join(sorted(known))}", name, "correct the name")
        wanted = {part.name for part in self.parts if not names or part.name in names or part.family in names}
        for part in reversed(self.parts):
            if part.name in wanted:
                wanted.update(part.needs)
        return tuple(part for part in self.parts if part.name in wanted)


def name_part(family: str, held_out: Sequence[int]) -> str:
    """Name a part: lite0/fold3, lite0/folds0-3, lite0/all."""
    return f"{family}/{_name_held_out(held_out)}"


def _name_held_out(held_out: Sequence[int]) -> str:
    kind = "all" if not held_out else "fold" if len(held_out) == 1 else "folds"
    return f"{kind}{'-'.join(map(str, held_out))}"


def read_recipe(path: str | Path, num_folds: int) -> Recipe:
    """Read a recipe for a datalist of so many folds.

    Raises:
        InputError: where the file is absent, no recipe, or a family needs one that does not come before it.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        configs, families = Path(content["configs"]), dict(content["families"])
    except OSError as error:
        raise InputError("a recipe", f"none at {path} ({error.strerror})", "check the path") from None
    except (ValueError, KeyError, TypeError):
        raise InputError("a recipe with configs and families", f"another content at {path}", "correct it") from None
    parts: list[Part] = []
    for family, entry in families.items():
        if odd := set(entry) - _KEYS:
            raise InputError(f"a family with {', '.join(sorted(_KEYS))}", f"{', '.join(odd)} in {family}", "correct it")
        for held_out in _list_held_out(entry["held_out"], num_folds):
            parts.append(_build_part(family, entry, held_out, configs, parts))
        made = {_name_held_out(part.held_out) for part in parts if part.family == family}
        if absent := set(entry.get("ship", {})) - made:
            raise InputError(
                f"weights of {', '.join(sorted(made))} to ship", f"{', '.join(absent)} in {family}", "correct it"
            )
    caches = [(_locate(entry["stack"], configs), dict(entry["options"])) for entry in content.get("caches", ())]
    return Recipe(tuple(parts), tuple(caches))


def _list_held_out(kinds: str | Sequence[str], num_folds: int) -> Iterator[tuple[int, ...]]:
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in _KINDS:
            raise InputError(f"held_out among {', '.join(_KINDS)}", repr(kind), "correct the recipe")
        sizes = {"all": 0, "folds": 1, "pairs": 2}
        yield from combinations(range(num_folds), sizes[kind])


def _build_part(
    family: str, entry: Mapping[str, Any], held_out: tuple[int, ...], configs: Path, before: Sequence[Part]
) -> Part:
    teachers = tuple(entry.get("soft_labels", ()))
    needs = [part.name for part in before if part.family in teachers and _may_teach(part.held_out, held_out)]
    if teachers and not needs:
        raise InputError(f"families before {family} that never saw folds {held_out}", "none", "correct the recipe")
    encoder_from = entry.get("encoder_from")
    if encoder_from is not None:
        source = name_part(encoder_from, held_out)
        if source not in {part.name for part in before}:
            raise InputError(f"a part {source} before {family}", "none", "correct the recipe")
        needs.append(source)
    return Part(
        family=family,
        held_out=held_out,
        stack=_locate(entry["stack"], configs),
        options=dict(entry.get("options", {})),
        soft_labels=teachers,
        encoder_from=encoder_from,
        ship=entry.get("ship", {}).get(_name_held_out(held_out)),
        needs=tuple(needs),
    )


def _locate(stack: Sequence[str], configs: Path) -> tuple[str, ...]:
    return tuple(str(configs / file) for file in stack)


def _may_teach(teacher: tuple[int, ...], student: tuple[int, ...]) -> bool:
    """Decide whether a network labels for a student: it saw neither the student's folds nor the one that it labels."""
    return set(student) < set(teacher) and len(teacher) == len(student) + 1
