"""The import floors of the design, read from the source itself; every rule refuses a planted fault."""

from __future__ import annotations

import ast
import functools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PLATFORM = Path(__file__).parent.parent / "platform"
FLOORS = (
    ("errors",),
    ("registry", "document", "durable"),
    ("config", "cluster", "batch"),
    ("tasks",),
    ("data", "models", "losses", "weighting", "sampling", "metrics", "monitor", "checkpoint"),
    ("training", "evaluate", "predict", "export", "report", "continual", "vectors", "quality"),
    ("build",),
    ("launch", "plan", "serve", "doctor"),
    ("workflows", "clusters", "planning"),
    ("cli",),
    ("__init__", "__main__", "api"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PARTS = 4
SEEN_BY_PARTS = {"errors", "registry", "batch", "durable"}
HEAVY = {"torch", "ray", "deepspeed", "wandb", "transformers"}
LIGHT_FLOORS = {0, 1, 2, 3, 9}
MAY_BE_HEAVY = {"batch"}


@dataclass(frozen=True)
class Import:
    """One imported module. at_load: it is imported when its importer is (not in a function, not for types alone)."""

    importer: str
    target: str
    line: int
    at_load: bool


parsed = functools.cache(ast.parse)


class Tree:
    """The modules under `platform/trunkline` and what they import."""

    def __init__(self, platform: Path) -> None:
        self.platform = platform
        paths = sorted((platform / "trunkline").rglob("*.py"))
        self.paths = {self._name(path): path for path in paths}
        self.syntax = {name: parsed(path.read_text(encoding="utf-8")) for name, path in self.paths.items()}
        self.imports = [found for name, tree in self.syntax.items() for found in self._imports(name, tree)]

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.platform).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports(self, importer: str, tree: ast.Module) -> Iterator[Import]:
        for node, at_load in _walk(tree, True):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(importer, alias.name, node.lineno, at_load)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield Import(importer, inner if inner in self.paths else base, node.lineno, at_load)

    def room(self, module: str) -> str:
        parts = module.split(".")
        return parts[1] if len(parts) > 1 else "__init__"


def _walk(node: ast.AST, at_load: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for statement in child.body:
                yield statement, False
                yield from _walk(statement, False)
            for statement in child.orelse:
                yield statement, inside
                yield from _walk(statement, inside)
            continue
        yield child, inside
        yield from _walk(child, inside)


def upward_imports(tree: Tree) -> list[str]:
    """Imports that do not point strictly down, in functions and for types too."""
    faults = []
    for found in tree.imports:
        if found.target.startswith("."):
            faults.append(f"{found.importer}:{found.line} is relative")
        if found.target.split(".")[0] != "trunkline":
            continue
        above, below = tree.room(found.importer), tree.room(found.target)
        if above not in FLOOR or below not in FLOOR:
            faults.append(f"{found.importer}:{found.line} room {above if above not in FLOOR else below} has no floor")
        elif above != below and FLOOR[below] >= FLOOR[above]:
            faults.append(f"{found.importer}:{found.line} imports {found.target}")
        elif above != below and FLOOR[above] == PARTS and below not in SEEN_BY_PARTS:
            faults.append(f"{found.importer}:{found.line} is a part and sees {found.target}")
    return faults


def cycles(tree: Tree) -> list[str]:
    """Modules that reach themselves through imports of any kind."""
    edges: dict[str, set[str]] = {name: set() for name in tree.paths}
    for found in tree.imports:
        if found.target in edges and found.target != found.importer:
            edges[found.importer].add(found.target)
    faults, done = [], set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            faults.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(edges[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())
    return faults


def package_roots(tree: Tree) -> list[str]:
    """An importable `platform` would hide the standard library's."""
    return [str(path) for path in (tree.platform / "__init__.py", tree.platform / "__init__.pyi") if path.exists()]


def tables(tree: Tree) -> dict[str, dict[str, dict[str, str]]]:
    """Room -> table -> name -> module, of every room's `__init__`."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, path in tree.paths.items():
        if path.name == "__init__.py" and name != "trunkline":
            for statement in tree.syntax[name].body:
                if (
                    isinstance(statement, ast.Assign)
                    and isinstance(statement.targets[0], ast.Name)
                    and isinstance(statement.value, ast.Dict)
                ):
                    found.setdefault(name, {})[statement.targets[0].id] = ast.literal_eval(statement.value)
    return found


def loose_tables(tree: Tree) -> list[str]:
    """A room's `__init__` is a docstring and literal mappings name -> module of the room, nothing else."""
    faults = []
    for name, path in tree.paths.items():
        if path.name != "__init__.py" or name == "trunkline":
            continue
        body = tree.syntax[name].body
        if not body or ast.get_docstring(tree.syntax[name]) is None:
            faults.append(f"{name} has no docstring")
        for statement in body[1:]:
            literal = isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict)
            keys_and_values = [*statement.value.keys, *statement.value.values] if literal else [None]
            if not all(isinstance(value, ast.Constant) and isinstance(value.value, str) for value in keys_and_values):
                faults.append(f"{name}:{statement.lineno} is no literal table")
    return faults


def dangling_entries(tree: Tree) -> list[str]:
    """Table entries whose module does not exist."""
    return [
        f"{room}.{table}[{name!r}] names {module}"
        for room, named in tables(tree).items()
        for table, entries in named.items()
        for name, module in entries.items()
        if f"{room}.{module}" not in tree.paths
    ]


def heavy_imports(tree: Tree) -> list[str]:
    """Light floors that load a heavy package when they are imported, themselves or through another module."""
    loads: dict[str, set[str]] = {}
    for found in tree.imports:
        if found.at_load:
            loads.setdefault(found.importer, set()).add(found.target)
    faults = []
    for name in tree.paths:
        room = tree.room(name)
        if FLOOR.get(room) not in LIGHT_FLOORS or room in MAY_BE_HEAVY:
            continue
        reached, ahead = set(), [name]
        while ahead:
            module = ahead.pop()
            if module.split(".")[0] in HEAVY:
                faults.append(f"{name} loads {module}")
            elif module not in reached:
                reached.add(module)
                ahead += loads.get(module, ())
    return faults


RULES = (upward_imports, cycles, package_roots, loose_tables, dangling_entries, heavy_imports)


@pytest.mark.parametrize("rule", RULES)
def test_the_source_keeps_every_rule(rule):
    assert rule(Tree(PLATFORM)) == []


def test_every_room_has_a_floor():
    tree = Tree(PLATFORM)
    assert {tree.room(name) for name in tree.paths} <= set(FLOOR)


def test_every_rooms_table_is_found():
    assert "OPTIMIZERS" in tables(Tree(PLATFORM))["trunkline.training"]


UP = "from trunkline.training import optim\n"
PLANTED = [
    pytest.param(upward_imports, "losses/planted.py", UP, "trunkline.losses.planted:1 imports trunkline.training", id="upward"),
    pytest.param(
        upward_imports,
        "losses/planted.py",
        f"def f():\n    {UP}",
        "trunkline.losses.planted:2 imports trunkline.training",
        id="in a function",
    ),
    pytest.param(
        upward_imports,
        "losses/planted.py",
        f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {UP}",
        "trunkline.losses.planted:3 imports trunkline.training",
        id="for types",
    ),
    pytest.param(upward_imports, "losses/planted.py", "import trunkline.metrics\n", "imports trunkline.metrics", id="same floor"),
    pytest.param(upward_imports, "losses/planted.py", "import trunkline\n", "imports trunkline", id="package root"),
    pytest.param(
        upward_imports, "losses/planted.py", "from trunkline import config\n", "sees trunkline.config", id="part sees config"
    ),
    pytest.param(
        upward_imports,
        "data/planted.py",
        "from trunkline.tasks.card import Card\n",
        "sees trunkline.tasks.card",
        id="part sees cards",
    ),
    pytest.param(
        upward_imports, "losses/planted.py", "from . import base\n", "trunkline.losses.planted:1 is relative", id="relative"
    ),
    pytest.param(
        upward_imports, "attic/planted.py", "import trunkline.errors\n", "room attic has no floor", id="room without floor"
    ),
    pytest.param(
        cycles, "registry.py", "import trunkline.registry_b\n", "trunkline.registry -> trunkline.registry_b", id="cycle"
    ),
    pytest.param(
        cycles,
        "registry.py",
        "def f():\n    import trunkline.registry_b\n",
        "trunkline.registry_b -> trunkline.registry",
        id="late cycle",
    ),
    pytest.param(package_roots, "../__init__.py", "", "__init__.py", id="platform is a package"),
    pytest.param(
        loose_tables,
        "metrics/__init__.py",
        '"""m"""\nimport os\n',
        "trunkline.metrics:2 is no literal table",
        id="import in a table",
    ),
    pytest.param(loose_tables, "metrics/__init__.py", '"""m"""\nM = dict(a="b")\n', "trunkline.metrics:2", id="computed table"),
    pytest.param(loose_tables, "metrics/__init__.py", '"""m"""\nM = {"a": f()}\n', "trunkline.metrics:2", id="computed entry"),
    pytest.param(loose_tables, "metrics/__init__.py", "M = {}\n", "trunkline.metrics has no docstring", id="no docstring"),
    pytest.param(
        dangling_entries, "metrics/__init__.py", '"""m"""\nM = {"a": "gone"}\n', "['a'] names gone", id="entry without module"
    ),
    pytest.param(heavy_imports, "tasks/planted.py", "import torch.nn\n", "trunkline.tasks.planted loads torch.nn", id="heavy"),
    pytest.param(
        heavy_imports,
        "cli/planted.py",
        "try:\n    from ray import train\nexcept ImportError:\n    pass\n",
        "loads ray",
        id="heavy in a try",
    ),
    pytest.param(
        heavy_imports,
        "cli/planted.py",
        "import trunkline.batch\n",
        "trunkline.cli.planted loads torch",
        id="heavy through another",
    ),
]


@pytest.mark.parametrize(("rule", "file", "text", "fault"), PLANTED)
def test_a_planted_fault_is_refused(tmp_path, rule, file, text, fault):
    platform = tmp_path / "platform"
    shutil.copytree(PLATFORM, platform, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (platform / "trunkline" / "registry_b.py").write_text("import trunkline.registry\n")
    path = platform / "trunkline" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    planted = set(rule(Tree(platform))) - set(rule(Tree(PLATFORM)))
    assert any(fault in found for found in planted), planted


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import torch\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n",
        "import json\nfrom trunkline.errors import ConfigError\n",
    ],
)
def test_light_floors_may_import_late_or_for_types(tmp_path, text):
    platform = tmp_path / "platform"
    shutil.copytree(PLATFORM, platform, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (platform / "trunkline" / "tasks" / "planted.py").write_text(text)
    tree = Tree(platform)
    assert [fault for rule in RULES for fault in rule(tree) if "planted" in fault] == []
