"""Rows 1 to 20: the recipe file, its values, overrides."""

from __future__ import annotations

from collections.abc import Callable

from bad_inputs.project import CANARY, RECIPE, Case, Outcome, Project

TRAIN = "train: {steps: 2, tokens_per_step: 128, max_length: 16}"
RENDER = ("config", "render", "recipes/r.yaml")


def file(content: str | bytes) -> Callable[[Project], Outcome]:
    """A recipe file of this content."""

    def act(project: Project) -> Outcome:
        project.write("recipes/r.yaml", content)
        return project.run(*RENDER)

    return act


def edit(old: str, new: str) -> Callable[[Project], Outcome]:
    """The recipe with a stretch replaced."""

    def act(project: Project) -> Outcome:
        project.recipe(old, new)
        return project.run(*RENDER)

    return act


def with_line(line: str) -> Callable[[Project], Outcome]:
    return edit("seed: 1\n", f"{line}\n")


def train(old: str, new: str) -> Callable[[Project], Outcome]:
    return edit(TRAIN, TRAIN.replace(old, new))


def override(*given: str) -> Callable[[Project], Outcome]:
    words = [word for value in given for word in ("-s", value)]
    return lambda project: project.run(*RENDER, *words)


def named(name: str) -> Callable[[Project], Outcome]:
    """The recipe under another path."""

    def act(project: Project) -> Outcome:
        project.write(f"recipes/{name}", RECIPE.lstrip())
        return project.run("config", "render", f"recipes/{name}")

    return act


def directory(project: Project) -> Outcome:
    (project.folder / "recipes/folder.yaml").mkdir()
    return project.run("config", "render", "recipes/folder.yaml")


def bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def within(limit_s: float, act: Callable[[Project], Outcome]) -> Callable[[Project], Outcome]:
    """The same, and no slower than this."""

    def timed(project: Project) -> Outcome:
        outcome = act(project)
        if outcome.seconds > limit_s:
            return Outcome(outcome.code, f"took {outcome.seconds:.1f} s", ["time"], outcome.seconds)
        return outcome

    return timed


PAYLOAD = f"seed: !!python/object/apply:os.system ['touch {CANARY}']\n"
CASES = [
    Case(1, "a recipe that is not there", lambda p: p.run("config", "render", "recipes/q.yaml"), 3, r"recipes/q\.yaml.*r\.yaml"),
    Case(1, "a folder for a recipe", directory, 3, r"recipes/folder\.yaml: .*folder"),
    Case(2, "an empty file", file(""), 3, r"r\.yaml.*empty"),
    Case(2, "comments alone", file("# nothing\n# here\n"), 3, r"r\.yaml.*empty"),
    Case(3, "an unclosed bracket", edit("tasks: [one]", "tasks: [one"), 3, r"r\.yaml:\d+:\d+: "),
    Case(4, "a tab as indentation", edit("seed: 1", "optim:\n\tlr: 1"), 3, r"r\.yaml:2:\d+: .*[Ss]pace"),
    Case(5, "a key twice", with_line("seed: 1\nseed: 2"), 3, r"r\.yaml:2:1: seed: the key is given twice.*line 1.*line 2"),
    Case(6, "an unknown key", with_line("optm: {lr: 1}"), 3, r"r\.yaml:1:1: optm: unknown key\. Did you mean 'optim'\?"),
    Case(
        7, "a key of another level", with_line("steps: 10"), 3, r"steps: unknown key at this level\. Did you mean 'train\.steps'"
    ),
    Case(8, "text for a number", with_line("optim: {lr: fast}"), 3, r"r\.yaml:1:\d+: optim\.lr: expected a number, found 'fast'"),
    Case(8, "a comma for a point", with_line("optim:\n  lr: 1,5"), 3, r"optim\.lr: expected a number.*Write a point"),
    Case(9, "NaN", with_line("optim: {lr: .nan}"), 3, r"optim\.lr: expected a finite number"),
    Case(9, "infinity", with_line("optim: {lr: .inf}"), 3, r"optim\.lr: expected a finite number"),
    Case(9, "a negative rate", with_line("optim: {lr: -1}"), 3, r"optim\.lr: must be above 0"),
    Case(10, "half a step", train("steps: 2", "steps: 1.5"), 3, r"train\.steps: expected a whole number, found 1\.5"),
    Case(10, "a truth for a number", train("steps: 2", "steps: true"), 3, r"train\.steps: expected a whole number, found true"),
    Case(10, "steps below 0", train("steps: 2", "steps: -1"), 3, r"train\.steps: must be above 0"),
    Case(10, "10^30 steps", train("steps: 2", "steps: 1" + "0" * 30), 3, r"train\.steps: must be at most"),
    Case(11, "a part misspelled", with_line("optim: {kind: adamww}"), 3, r"no optimizer named 'adamww'\. Did you mean 'adamw'"),
    Case(11, "a choice misspelled", with_line("optim: {schedule: cosin}"), 3, r"unknown value 'cosin'\. Did you mean 'cosine'"),
    Case(12, "a tag that would run a command", file(PAYLOAD), 3, r"r\.yaml:1:\d+: .*tag"),
    Case(13, "an alias bomb", within(1, file(bomb())), 3, r"alias"),
    Case(13, "nested 100 deep", within(1, file("seed: " + "[" * 100 + "]" * 100)), 3, r"nest|deep"),
    Case(13, "50 MB", within(1, file(b"seed: 1\n" * 6_500_000)), 3, r"MB|MiB|large|bytes"),
    Case(14, "UTF-16", file(RECIPE.encode("utf-16")), 3, r"UTF-8"),
    Case(14, "latin-1", file(b"# \xe9t\xe9\nseed: 1\n"), 3, r"UTF-8"),
    Case(14, "a NUL byte", file("seed: 1\nta\0sks: [one]\n"), 3, r"r\.yaml:\d+.*(NUL|character|control)"),
    Case(14, "a byte order mark", file(b"\xef\xbb\xbf" + RECIPE.lstrip().encode()), 0, r"hidden_size: 16"),
    Case(15, "a recipe that names a cluster", with_line("cluster: mine"), 3, r"cluster: does not belong here.*never says where"),
    Case(15, "a recipe that holds a card", with_line("metrics: [f1]"), 3, r"metrics: does not belong here.*card"),
    Case(16, "fp16", with_line("engine: {precision: fp16}"), 3, r"engine\.precision: unknown value 'fp16'"),
    Case(
        16,
        "a pass above its step",
        train("max", "tokens_per_pass: 900, max"),
        3,
        r"tokens_per_pass: .*900.*tokens_per_step.*128",
    ),
    Case(
        16,
        "passes that do not combine",
        with_line("passes: {kind: [fgm, pgd]}"),
        3,
        r"passes\.kind: ",
    ),
    Case(17, "an override without =", override("a.b"), 2, r"-s a\.b: an override needs '='"),
    Case(17, "an override of nothing", override("=1"), 2, r"must be a key"),
    Case(17, "brackets in an override", override("tasks[9].weight=1"), 2, r"Write tasks\.0\.weight=2"),
    Case(17, "an unknown path", override("trian.steps=3"), 3, r"trian: unknown key\. Did you mean 'train'"),
    Case(18, "a secret", with_line("api_key: hunter2hunter2"), 3, r"(?s)^(?!.*hunter2).*does not belong in a file"),
    Case(
        18,
        "a secret in a section",
        with_line("track: {wandb: {project: p, api_key: hunter2hunter2}}"),
        3,
        r"(?s)^(?!.*hunter2).*does not belong in a file",
    ),
    Case(
        18,
        "a password in an address",
        with_line("catalog: ['s3://me:hunter2hunter2@bucket/tasks']"),
        3,
        r"(?s)^(?!.*hunter2).*catalog\.0: an address with a password",
    ),
    Case(
        18, "a secret in an override", override("track.wandb.api_key=hunter2hunter2"), 3, r"(?s)^(?!.*hunter2).*does not belong"
    ),
    Case(
        19,
        "a reference to the environment",
        with_line("track: {wandb: {project: '${NOT_SET_ANYWHERE}'}}"),
        3,
        r"track\.wandb\.project: '\$\{NOT_SET_ANYWHERE\}' is not filled in",
    ),
    Case(20, "a path with ..", named("../recipes/r.yaml"), 0, r"hidden_size: 16"),
    Case(20, "a path with a space and a quote", named("a b'c.yaml"), 0, r"hidden_size: 16"),
    Case(20, "a path with a newline", named("a\nb.yaml"), 0, r"hidden_size: 16"),
    Case(20, "a path of signs", named("🚀;touch canary.yaml"), 0, r"hidden_size: 16"),
    Case(20, "a path with ~", lambda p: p.run("config", "render", "~nobody/r.yaml"), 3, r"~nobody/r\.yaml: "),
]
