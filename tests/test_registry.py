"""Parts by name: ours, a stranger's from an entry point, a plugin's."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from trunkline.errors import ConfigError, UnknownPart
from trunkline.registry import REGISTRIES, REQUIRED, Count, Dropout, Registry

ROOM = '''
"""A room."""

PARTS = {"plain": "parts", "eager": "parts"}
'''
PARTS = """
from REGISTRY import REGISTRY
__name__ = "trunkline.room.parts"  # where parts of our own say they come from

@REGISTRY.register("plain")
class Plain:
    def __init__(self, width, *, depth, rate: float = 0.5): ...

@REGISTRY.register("eager")
def eager(texts, *, size: int = 3): ...
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A registry over a tiny package of its own; the package's module counts its imports."""
    name = f"room_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(ROOM)
    (tmp_path / name / "parts.py").write_text(PARTS.replace("REGISTRY import", f"{name}_registry import"))
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("gadgets", "gadget", f"{name}:PARTS")
    holder = type(sys)(f"{name}_registry")
    holder.REGISTRY = registry
    monkeypatch.setitem(sys.modules, f"{name}_registry", holder)
    registry.module = f"{name}.parts"
    return registry


def test_names_are_known_before_any_part_is_imported(room):
    assert room.names() == ["eager", "plain"]
    room.check_name("plain")
    assert room.module not in sys.modules
    assert room.get("plain").__name__ == "Plain"
    assert room.module in sys.modules


def test_an_unknown_name_gets_the_nearest_and_imports_nothing(room):
    with pytest.raises(UnknownPart) as caught:
        room.get("plian", where="f:1:2: part")
    assert str(caught.value) == "f:1:2: part: no gadget named 'plian'. Did you mean 'plain'? Known: eager, plain."
    assert room.module not in sys.modules


def test_keyword_only_arguments_are_what_configuration_may_say(room):
    assert room.arguments("plain") == {"depth": REQUIRED, "rate": 0.5}
    assert room.arguments("eager") == {"size": 3}


def test_arguments_are_checked_against_the_signature(room):
    room.check("plain", {"depth": 1})
    room.check("plain", {"depth": 1, "labels": []}, also={"labels": REQUIRED})
    with pytest.raises(ConfigError, match=r"f:1: gadget 'plain' takes no 'dept'. Did you mean 'depth'?"):
        room.check("plain", {"dept": 1}, where="f:1")
    with pytest.raises(ConfigError, match="gadget 'plain' needs 'depth'"):
        room.check("plain", {"rate": 1})
    with pytest.raises(ConfigError, match="takes no 'width'"):
        room.check("plain", {"depth": 1, "width": 1})
    with pytest.raises(ConfigError, match="needs 'depth', 'labels'"):
        room.check("plain", {}, also={"labels": REQUIRED})


def test_a_name_is_registered_once(room):
    room.register("own")(type("Own", (), {"__module__": "mine"}))
    with pytest.raises(ConfigError, match=r"gadget 'own' is already registered by mine.Own"):
        room.register("own")(type("Other", (), {"__module__": "yours"}))
    with pytest.raises(ConfigError, match="gadget 'plain' is already registered by"):
        room.register("plain")(type("Other", (), {"__module__": "yours"}))


def test_a_registered_part_is_listed_with_its_module(room):
    room.register("own")(type("Own", (), {"__module__": "mine"}))
    assert [(line.name, line.source) for line in room.listing()] == [
        ("eager", "trunkline"),
        ("own", "mine"),
        ("plain", "trunkline"),
    ]


def install(folder, group, name, target):
    """A distribution as pip leaves it: one module and the metadata that declares an entry point."""
    info = folder / "strange_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    (folder / "strange_parts.py").write_text("import os\n\nclass Odd:\n    def __init__(self, width, *, hue: int = 7): ...\n")


def test_a_third_party_adds_a_part_through_an_entry_point(tmp_path, monkeypatch):
    install(tmp_path, "trunkline.heads", "odd", "strange_parts:Odd")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    heads = Registry("heads", "head", "trunkline.models.heads:HEADS")
    assert "odd" in heads.names()
    assert ("odd", "head", "strange-parts", "strange_parts") in [
        (line.name, line.kind, line.source, line.file) for line in heads.listing()
    ]
    assert "strange_parts" not in sys.modules
    assert heads.arguments("odd") == {"hue": 7}
    heads.check("odd", {"hue": 1})


def test_a_third_partys_head_is_listed_by_the_command(tmp_path):
    install(tmp_path, "trunkline.heads", "odd", "strange_parts:Odd")
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "parts", "heads"],
        env={"PYTHONPATH": ":".join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["odd", "head", "strange-parts", "strange_parts"] in [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.room)
def test_every_room_lists_its_parts(registry):
    assert registry.names()
    assert [line.name for line in registry.listing()] == registry.names()


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.room)
def test_every_part_of_our_own_is_listed_with_its_file_and_what_it_says_of_itself(registry):
    root = Path(importlib.import_module("trunkline").__file__).parent.parent
    for line in registry.listing():
        if line.source == "trunkline":
            assert f'.register("{line.name}")' in (root / line.file).read_text(encoding="utf-8")
            assert line.kind == registry.noun and line.summary
            said = " ".join(inspect.getdoc(registry.get(line.name)).split())
            assert said.startswith(line.summary.rstrip(":"))


def test_a_part_of_a_plugin_that_ran_is_listed_with_its_file(room, tmp_path):
    plugin = tmp_path / "plugin.py"
    module = type(sys)("a_plugin")
    module.__file__ = str(plugin)
    sys.modules["a_plugin"] = module
    exec("class Odd: ...", vars(module))
    room.register("odd")(module.Odd)
    found = [line for line in room.listing() if line.name == "odd"]
    del sys.modules["a_plugin"]
    assert [(line.source, line.file) for line in found] == [(str(plugin), str(plugin))]


def test_a_projects_plugins_are_listed_without_running_them_and_a_broken_one_is_told(tmp_path):
    for task in ("one", "two"):
        (tmp_path / "tasks" / task).mkdir(parents=True)
    (tmp_path / "tasks/one/plugin.py").write_text(
        'raise SystemExit(9)\n\n@SOURCES.register("odd_rows")\nclass Odd:\n    """Rows that are odd. And more."""\n'
    )
    (tmp_path / "tasks/two/plugin.py").write_text("class\n")
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "parts", "sources", "--json"],
        env={"PYTHONPATH": ":".join(str(Path(place).absolute()) for place in sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[-1] == {
        "room": "sources",
        "name": "odd_rows",
        "kind": "source format",
        "source": "tasks/one/plugin.py",
        "file": "tasks/one/plugin.py",
        "summary": "Rows that are odd.",
    }
    assert done.stderr.startswith("warning: tasks/two/plugin.py: is no Python:") and "Traceback" not in done.stderr


def test_listing_every_part_loads_nothing_heavy():
    code = (
        "import sys\nfrom trunkline.registry import REGISTRIES\n"
        "for registry in REGISTRIES:\n    list(registry.listing())\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'transformers', 'tokenizers', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode == 0


@pytest.fixture
def typed(monkeypatch):
    """A registry with one part of its own whose arguments have types and bounds, and one with a type nobody knows."""
    registry = Registry("gadgets", "gadget", "trunkline.losses:LOSSES")

    @registry.register("typed")
    class Typed:
        def __init__(
            self,
            *,
            depth: Count = 1,
            rate: Dropout = 0.1,
            names: Sequence[str] = (),
            pair: tuple[float, float] = (0.9, 0.99),
            mode: Literal["min", "max"] = "min",
            rates: Mapping[str, float] | None = None,
            wide: bool = False,
        ) -> None: ...

    @registry.register("stranger")
    class Stranger:
        def __init__(self, *, thing: Registry, more: UnknownPart | None = None) -> None: ...

    return registry


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"depth": "abc"}, "depth: a whole number is needed, found 'abc'."),
        ({"depth": 2.5}, "depth: a whole number is needed, found 2.5."),
        ({"depth": True}, "depth: a whole number is needed, found True."),
        ({"depth": 0}, "depth: must be at least 1, found 0."),
        ({"rate": 1}, "rate: must be below 1, found 1."),
        ({"rate": -0.1}, "rate: must be at least 0, found -0.1."),
        ({"rate": float("nan")}, "rate: a number is needed, found nan."),
        ({"names": "a"}, "names: a list of text each is needed, found 'a'."),
        ({"pair": [0.9]}, "pair: a list of a number each is needed, found [0.9]."),
        ({"mode": "mean"}, "mode: 'min' or 'max' is needed, found 'mean'."),
        ({"rates": 3}, "rates: keys and values of a number each or null is needed, found 3."),
        ({"rates": {"a": "x"}}, "rates: keys and values of a number each or null is needed, found {'a': 'x'}."),
        ({"wide": 1}, "wide: true or false is needed, found 1."),
    ],
)
def test_a_value_of_another_type_or_beyond_its_bounds_is_refused(typed, given, said):
    with pytest.raises(ConfigError) as caught:
        typed.check("typed", given, where="recipe.yaml:3:1: trunk")
    assert str(caught.value) == f"recipe.yaml:3:1: trunk: gadget 'typed': {said}"


def test_values_of_the_right_types_pass_as_yaml_writes_them(typed):
    typed.check(
        "typed", {"depth": 3, "rate": 0, "names": ["a"], "pair": [0, 0.5], "mode": "max", "rates": {"a": 1}, "wide": True}
    )
    typed.check("typed", {"rates": None})
    typed.check("stranger", {"thing": "anything"})
