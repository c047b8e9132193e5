"""What the pages say is there: links, commands, parts, the map, cards, recipes, code. Every check refuses a planted fault."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
import shlex
import sys
import tomllib
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from trunkline.build.mixing import make_stream
from trunkline.build.prepare import check_recipe
from trunkline.cli import COMMANDS
from trunkline.cli.app import main
from trunkline.cli.starter import files as starter_files
from trunkline.config.recipe import load_recipe
from trunkline.errors import TrunklineError
from trunkline.losses import LOSSES
from trunkline.registry import REGISTRIES, SAMPLERS, WEIGHTINGS
from trunkline.tasks.card import check_parts, load_card
from trunkline.tasks.plugin import load_plugin, module_name
from trunkline.weighting import WEIGHTINGS as WEIGHTED

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
TARGET = re.compile(r"^([a-z-]+):.*##", re.MULTILINE)
SHELL_WORDS = {"cd", "curl", "echo", "export", "mkdir", "pip", "ray", "source", "umask"}
GROUPS = {"checkpoint", "config", "task", "track", "vectors"}  # commands of two words


@dataclass(frozen=True)
class Block:
    """A fenced block. kind, marks: the first and the further words behind the fence."""

    kind: str
    marks: tuple[str, ...]
    text: str


def blocks(text: str) -> list[Block]:
    found = []
    for info, body in FENCE.findall(text):
        kind, *marks = info.split() or [""]
        found.append(Block(kind, tuple(marks), body))
    return found


def between(text: str, name: str) -> str:
    """What stands between the markers `<!-- name:start -->` and `<!-- name:end -->`."""
    return text.split(f"<!-- {name}:start -->")[1].split(f"<!-- {name}:end -->")[0]


def anchors(text: str) -> set[str]:
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, page: Path) -> list[str]:
    """Relative links to no file of the repository, or to no heading of it."""
    faults = []
    for link in LINK.findall(FENCE.sub("", text)):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        found = target.exists() and target.is_relative_to(ROOT)
        if found and anchor:
            found = anchor in anchors(text if target == page else target.read_text(encoding="utf-8"))
        if not found:
            faults.append(link)
    return faults


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of each command in `sh` blocks, and behind `$` in `console` blocks; pipes are taken apart."""
    for block in blocks(text):
        lines = block.text.splitlines() if block.kind in ("sh", "console") else []
        if block.kind == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        for line in lines:
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "|"]:
                if word not in ("|", "&&"):
                    words.append(word)
                elif words:
                    yield words
                    words = []


def wrong_commands(text: str, show_help: Callable[[list[str]], str | None]) -> list[str]:
    """Command lines that name no command, make target, option, recipe or recipe key there is.

    show_help: the help of a trunkline command given as words, or None where there is no such command.
    """
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    faults = []
    for first, *rest in command_lines(text):
        name = first.removeprefix(".venv/bin/")
        if name == "make":
            faults += [f"make {word}" for word in rest if word not in targets and "=" not in word]
        elif name == "trunkline":
            faults += _wrong_arguments(rest, show_help)
        elif name not in SHELL_WORDS and not (ROOT / name).is_file():
            faults.append(first)
    return faults


def _wrong_arguments(words: list[str], show_help: Callable[[list[str]], str | None]) -> list[str]:
    size = 2 if words[0] in GROUPS else 1
    command, rest = words[:size], words[size:]
    shown = show_help(command)
    if shown is None:
        return [" ".join(["trunkline", *command])]
    known = set(re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", shown))
    faults = [f"{' '.join(command)} {word}" for word in rest if word.startswith("-") and len(word) > 1 and word not in known]
    overrides = [value for option, value in itertools.pairwise(rest) if option == "-s"]
    if rest and rest[0].endswith(".yaml") and not (ROOT / rest[0]).is_file() and rest[0] not in starter_files("any"):
        faults.append(rest[0])
    elif overrides:
        try:
            load_recipe(ROOT / rest[0], overrides)
        except TrunklineError as error:
            faults.append(str(error))
    return faults


def wrong_tables(text: str, page: Path = README) -> list[str]:
    """Lines that stand between the markers of a generated table and would not be written there, and the other way round."""
    name, table = docs_tables().TABLES[page]
    said, there = between(text, name).strip().splitlines(), table().splitlines()
    return [line for line in [*there, *said] if (line in there) != (line in said)] or ["order"] * (said != there)


@functools.cache
def docs_tables() -> types.ModuleType:
    """docs/tables.py, which `make readme` runs."""
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wrong_map(text: str) -> list[str]:
    """What the map shows and the package lacks, or the other way round."""
    folder, *lines = blocks(between(text, "map"))[0].text.splitlines()
    shown = {line.split()[0].rstrip("/") for line in lines}
    there = {path.name for path in (ROOT / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    return sorted(shown ^ there)


def wrong_yaml(text: str, folder: Path) -> list[str]:
    """Blocks marked `card` or `recipe` that their schema refuses. A card marked `plugin` has the last such Python block beside
    it, and its parts are loaded and checked too."""
    faults = []
    plugin = ""
    for number, block in enumerate(blocks(text)):
        if block.kind == "python" and "plugin" in block.marks:
            plugin = block.text
        place = folder / str(number)
        path = place / ("card.yaml" if "card" in block.marks else "recipe.yaml")
        if block.kind != "yaml":
            continue
        place.mkdir()
        path.write_text(block.text, encoding="utf-8")
        try:
            if "recipe" in block.marks:
                check_recipe(load_recipe(path))
            elif "card" in block.marks:
                if "plugin" in block.marks:
                    (place / "plugin.py").write_text(plugin, encoding="utf-8")
                card = load_card(path)
                load_plugin(card)
                sys.modules.pop(module_name(card), None)
                check_parts(card)
        except TrunklineError as error:
            faults.append(str(error))
    return faults


def wrong_code(text: str) -> list[str]:
    """Python blocks that do not compile, TOML blocks that do not load or have entry points to no room or to nothing."""
    faults = []
    rooms = {f"trunkline.{registry.room}" for registry in REGISTRIES}
    for block in blocks(text):
        try:
            if block.kind == "python":
                compile(block.text, "block", "exec")
            elif block.kind == "toml":
                groups = tomllib.loads(block.text)["project"].get("entry-points", {})
                faults += [group for group in groups if group not in rooms]
                points = [point for group in groups.values() for point in group.values() if point.startswith("trunkline")]
                faults += [point for point in points if not _is_there(point)]
        except (SyntaxError, ValueError, KeyError) as error:
            faults.append(f"{type(error).__name__}: {error}")
    return faults


def _is_there(point: str) -> bool:
    module, _, name = point.partition(":")
    try:
        return hasattr(import_module(module), name)
    except ImportError:
        return False


def wrong_demo(text: str) -> list[str]:
    """Tasks of the quickstart that the demo's table lacks, and the other way round."""
    lines = blocks(between(text, "demo-output"))[0].text.splitlines()
    table = lines[1 : lines.index("")]
    return sorted({line.split()[0] for line in table} ^ {use.task for use in load_recipe(ROOT / "recipes/quickstart.yaml").tasks})


@pytest.fixture
def show_help(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str | None]:
    def show(command: list[str]) -> str | None:
        code = main([*command, "--help"])
        return capsys.readouterr().out if code == 0 else None

    return show


def each_page(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])(test)


@each_page
def test_every_link_leads_somewhere(page):
    assert broken_links(page.read_text(encoding="utf-8"), page) == []


@each_page
def test_every_command_can_be_typed(page, show_help):
    assert wrong_commands(page.read_text(encoding="utf-8"), show_help) == []


@each_page
def test_every_card_and_recipe_is_sound(page, tmp_path, own_registries):
    assert wrong_yaml(page.read_text(encoding="utf-8"), tmp_path) == []


@each_page
def test_all_code_compiles(page):
    assert wrong_code(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("check", [wrong_tables, wrong_map, wrong_demo])
def test_the_readme_lists_what_there_is(check):
    assert check(README.read_text(encoding="utf-8")) == []


def test_the_page_of_parts_is_what_would_be_generated_and_a_part_that_is_missing_is_found():
    page = ROOT / "docs" / "parts.md"
    text = page.read_text(encoding="utf-8")
    assert wrong_tables(text, page) == []
    assert docs_tables().written(page) == text and docs_tables().written(README) == README.read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("| `crf` |")]
    assert wrong_tables(text.replace(f"{line}\n", ""), page) == [line]


def test_the_page_of_commands_is_what_would_be_generated_and_an_option_that_is_gone_is_found():
    page = ROOT / "docs" / "commands.md"
    text = page.read_text(encoding="utf-8")
    assert docs_tables().written(page) == text
    headings = {line[3:] for line in text.splitlines() if line.startswith("## ")}
    assert {f"trunkline {name}" for name in COMMANDS if name not in GROUPS} <= headings
    changed = text.replace("| `--pooling` |", "| `--poling` |")
    assert any("--poling" in line for line in wrong_tables(changed, page))


def test_the_page_on_mixing_has_a_recipe_for_every_sampling_and_weighting(tmp_path):
    found: dict[str, set[str]] = {"sampling": set(), "weighting": set()}
    for number, block in enumerate(blocks((ROOT / "docs/mixing.md").read_text(encoding="utf-8"))):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block.text, encoding="utf-8")
        recipe = load_recipe(path)
        counts = dict.fromkeys((use.task for use in recipe.tasks), 100_000)
        make_stream(recipe, {name: np.full(count, 20) for name, count in counts.items()}, {})
        WEIGHTINGS.get(recipe.weighting.kind)(list(counts), [1.0] * len(counts), **recipe.weighting.arguments)
        found["sampling"].add(recipe.sampling.kind)
        found["weighting"].add(recipe.weighting.kind)
    for registry, section in ((SAMPLERS, "sampling"), (WEIGHTINGS, "weighting")):
        assert found[section] == {line.name for line in registry.listing() if line.source == "trunkline"}


def test_the_pages_are_found():
    assert {"README.md", "CHANGELOG.md", "the-step.md", "write-a-head.md"} <= {page.name for page in PAGES}
    readme = README.read_text(encoding="utf-8")
    assert len(LINK.findall(readme)) > 10
    assert ["make", "demo"] in list(command_lines(readme))
    assert ["trunkline", "task", "check", "complaint"] in list(command_lines(readme))


@pytest.mark.parametrize(
    "planted",
    [
        "[a](docs/nowhere.md)",
        "[a](docs/the-step.md#nowhere)",
        "[a](#nowhere)",
        "[a](../outside.md)",
        "[a](platform/trunkline/train/loop.py)",
    ],
)
def test_a_broken_link_is_found(planted):
    assert broken_links(f"# Here\n\n{planted} and [b](#here), [c](https://example.org/x)\n", README) == [planted[4:-1]]


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ("make nothing", "make nothing"),
        ("trunkline lengthen model", "trunkline lengthen"),
        ("trunkline task mend a", "trunkline task mend"),
        ("trunkline task new a --sort b", "task new --sort"),
        ("echo a | trunkline predict m --tsak b -", "predict --tsak"),
        ("trunkline train recipes/nowhere.yaml", "recipes/nowhere.yaml"),
        ("trunkline train recipes/quickstart.yaml -s train.stpes=1", "train.stpes"),
        ("sudo reboot", "sudo"),
    ],
)
@pytest.mark.parametrize("fence", ["```sh\n{}\n```\n", "```console\n$ {}\nwhat it says\n```\n"])
def test_a_wrong_command_is_found(planted, fault, fence, show_help):
    (found,) = wrong_commands(fence.format(planted), show_help)
    assert fault in found


@pytest.mark.parametrize(
    ("check", "old", "new", "fault"),
    [
        (wrong_tables, "`infonce`, ", "", f"| losses | {', '.join(f'`{name}`' for name in sorted(LOSSES))} | a card's `loss` |"),
        (
            wrong_tables,
            "| weightings |",
            "| wieghtings |",
            f"| weightings | {', '.join(f'`{name}`' for name in sorted(WEIGHTED))} | a recipe's `weighting` |",
        ),
        (wrong_map, "  losses/ ", "  loses/ ", "losses"),
        (wrong_map, "  predict.py ", "  predict ", "predict.py"),
        (wrong_demo, "\ntone_tagging ", "\ntone_tager ", "tone_tagging"),
    ],
)
def test_a_list_that_is_off_is_found(check, old, new, fault):
    text = README.read_text(encoding="utf-8")
    assert old in text
    assert fault in check(text.replace(old, new))


CARD = "name: a\ndata: {format: csv, train: t.csv}\ninputs: [text]\ntarget: label\nhead: {kind: KIND, labels: [b, c]}\n"
PLUGIN = '```python plugin\nfrom trunkline.registry import SOURCES\nSOURCES.register("odd")(lambda c, *, n=1: c)\n```\n'


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        (f"```yaml card\n{CARD.replace('KIND', 'clasification')}```\n", "Did you mean 'classification'?"),
        (f"```yaml card plugin\n{CARD.replace('KIND', 'clasification')}```\n", "Did you mean 'classification'?"),
        (
            f"{PLUGIN}```yaml card plugin\n{CARD.replace('KIND', 'classification').replace('csv,', 'odd, m: 2,')}```\n",
            "takes no 'm'",
        ),
        ("```yaml recipe\ntrunk: {kind: transfromer}\ntasks: [a]\ntrain: {steps: 1, tokens_per_step: 9}\n```\n", "transformer"),
        (
            "```yaml recipe\ntrunk: transformer\ntasks: [a]\ntrain: {steps: 1, tokens_per_step: 999}\n"
            "sampling: {kind: unimax, pases: 2}\n```\n",
            "passes",
        ),
    ],
)
def test_a_wrong_card_or_recipe_is_found(planted, fault, tmp_path, own_registries):
    (found,) = wrong_yaml(planted, tmp_path)
    assert fault in found


@pytest.mark.parametrize(
    "planted",
    [
        "```python\nmodel = trunkline.load(\n```\n",
        "```toml\n[project\n```\n",
        '```toml\n[project.entry-points."trunkline.haeds"]\na = "b:C"\n```\n',
        '```toml\n[project.entry-points."trunkline.heads"]\na = "trunkline.models.heads.base:Haed"\n```\n',
    ],
)
def test_wrong_code_is_found(planted):
    assert len(wrong_code(planted)) == 1


def wrong_figures(readme: str, stored: str) -> list[str]:
    """Rows of the demo's table whose baseline or value is not that of the stored result."""
    import json

    shown = {
        line.split()[0]: line.split() for line in blocks(between(readme, "demo-output"))[0].text.splitlines() if " yes" in line
    }
    return [
        task["task"]
        for task in json.loads(stored)["tasks"]
        if not all(
            {f"{task[key]:.3f}", f"{task[key]:.1f}", f"{task[key]:,.0f}"} & set(shown[task["task"]])
            for key in ("baseline", "value")
        )
    ]


def test_the_demo_s_figures_are_those_of_the_stored_result_and_a_changed_one_is_found() -> None:
    stored = (ROOT / "benchmarks" / "results" / "quickstart.json").read_text()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert wrong_figures(readme, stored) == []
    import json

    value = next(row["value"] for row in json.loads(stored)["tasks"] if row["task"] == "tone_tagging")
    assert wrong_figures(readme.replace(f" {value:.3f} ", f" {value + 0.01:.3f} "), stored) == ["tone_tagging"]
