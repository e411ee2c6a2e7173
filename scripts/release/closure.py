"""Import closure: the modules that a release needs, from its configs, its command line and its integrations."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from scripts.errors import InputError

PACKAGE = "scripts"

#: A line of the packed code is no longer, as `pyproject.toml` says.
MAX_LINE = 120

_NAME = re.compile(rf"(?<![\w.\"'/]){PACKAGE}(?:\.\w+)+|(?<=[\"']){PACKAGE}(?:\.\w+)+")


class ImportGraph:
    """Modules of a repository's `scripts/` and what each imports.

    A name that a package exports leads to the module that defines it, not to all the package's modules: what nobody
    takes from a package stays behind, and `prune_exports` takes it off the package's list.

    Args:
        root: the repository.
    """

    def __init__(self, root: Path) -> None:
        self.paths: dict[str, Path] = {}
        for path in sorted((root / PACKAGE).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self._trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.paths.items()}
        self._exports = {name: self._list_exports(name) for name in self.paths}

    def find_closure(self, names: Iterable[str], without: Collection[str] = ()) -> set[str]:
        """The modules that define dotted names, and all that these import, anywhere in them.

        Args:
            names: of modules, classes and functions.
            without: modules that are imported only where they are found.

        Raises:
            InputError: where a name is no module's.
        """
        found: set[str] = set()
        waiting = [self.resolve(name) for name in names]
        while waiting:
            parts = waiting.pop().split(".")
            reached = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
            for module in reached - found if reached.isdisjoint(without) else ():
                found.add(module)
                waiting += [self.resolve(name) for name in self._find_needed_names(module)]
        return found

    def resolve(self, name: str) -> str:
        """The module that defines a dotted name.

        Raises:
            InputError: where it is no module's.
        """
        module = name
        while module not in self.paths:
            module = module.rpartition(".")[0]
            if not module:
                raise InputError("a name of this package", name, "correct it")
        attribute = name[len(module) + 1 :].partition(".")[0]
        source = self._exports[module].get(attribute)
        if source is not None:
            return self.resolve(f"{source}.{attribute}")
        if attribute and attribute not in _list_definitions(self._trees[module]):
            raise InputError(f"a name of {module}", name, "correct it")
        return module

    def _list_exports(self, module: str) -> dict[str, str]:
        """Names that a package only hands on, with the modules that they come from; a plain module has none."""
        if self.paths[module].name != "__init__.py":
            return {}
        tree = self._trees[module]
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        statements = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        return {
            alias.name: node.module
            for node in statements
            for alias in node.names
            if node.module and node.module.startswith(f"{PACKAGE}.") and alias.name not in used
        }

    def _find_needed_names(self, module: str) -> list[str]:
        """Dotted names of the package that a module imports or quotes, without what it only hands on."""
        handed_on = {f"{source}.{name}" for name, source in self._exports[module].items()}
        return [name for name in find_names(self._trees[module]) if name not in handed_on]


def find_names(tree: ast.AST) -> Iterator[str]:
    """Dotted names of the package that code imports, or quotes as a text of its own; not those for type checkers."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names if alias.name.partition(".")[0] == PACKAGE)
    elif isinstance(tree, ast.ImportFrom) and (tree.module or "").partition(".")[0] == PACKAGE:
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield from [tree.value] if _NAME.fullmatch(tree.value) else []
    for child in ast.iter_child_nodes(tree):
        yield from find_names(child)


def find_quoted_names(text: str) -> set[str]:
    """Dotted names of the package in a config or a document."""
    return set(_NAME.findall(text))


def prune_exports(text: str, packed: set[str]) -> str:
    """The code of a package's `__init__` without the exports of modules that are not packed."""
    tree = ast.parse(text)
    lines: list[str | None] = list(text.splitlines(keepends=True))
    dropped: set[str] = set()
    for node in tree.body:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if isinstance(node, ast.ImportFrom) and module.startswith(f"{PACKAGE}.") and module not in packed:
            dropped |= {alias.name for alias in node.names}
            _replace_lines(lines, node, None)
    for node in tree.body:
        if dropped and isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = [name for name in ast.literal_eval(node.value) if name not in dropped]
            _replace_lines(lines, node, _format_exports(names))
    pruned = "".join(line for line in lines if line is not None)
    return pruned if pruned == text else pruned.rstrip("\n") + "\n"


def _replace_lines(lines: list[str | None], node: ast.stmt, text: str | None) -> None:
    assert node.end_lineno is not None
    lines[node.lineno - 1 : node.end_lineno] = [text, *[None] * (node.end_lineno - node.lineno)]


def _format_exports(names: list[str]) -> str:
    """`__all__` as the formatter writes it: in one line where it fits."""
    quoted = [f'"{name}"' for name in names]
    line = f"__all__ = [{', '.join(quoted)}]\n"
    return line if len(line) <= MAX_LINE + 1 else "__all__ = [\n" + "".join(f"    {each},\n" for each in quoted) + "]\n"


def _list_definitions(tree: ast.AST) -> set[str]:
    """Names that a module binds outside of its functions and classes."""
    bound: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        else:
            bound |= _list_definitions(node)
    return bound
