"""Rates written as formulas."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from trunkline.errors import ConfigError, nearest
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler

NAMES = ("step", "progress", "size")
LONGEST = 200  # characters; bounds the depth of the tree, too
FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "sqrt": math.sqrt, "log": math.log, "exp": math.exp}
OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: math.pow,
    ast.USub: operator.neg, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


@SAMPLERS.register("expression")
class Expression(Sampler):
    """One formula per task, of step (from 1), progress (0 at the first step, 1 at the last) and size (rows of the task).

    rates: task -> formula: numbers, + - * / **, a comparison `<`, `<=`, `>`, `>=`, `a if b else c`, and min, max, sqrt, log,
    exp. It is read as a syntax tree and never run as Python. Raises ConfigError for anything else, for a task missing or
    unknown, and where a rate is negative or undefined or all are 0: tried before the run at up to 1,000 steps from first to
    last, and at every step as it comes.
    """

    def __init__(self, sizes: Mapping[str, int], horizon: Horizon, *, rates: Mapping[str, str | float]) -> None:
        super().__init__(sizes, horizon)
        if not isinstance(rates, Mapping):
            raise ConfigError(f"sampling.rates must give each task of the recipe a formula, found {rates!r}.")
        for task in rates:
            if task not in sizes:
                raise ConfigError(f"sampling.rates: the recipe has no task '{task}'. {nearest(task, sizes)}")
        missing = sorted(set(sizes) - set(rates))
        if missing:
            raise ConfigError(f"sampling.rates: no formula for {', '.join(missing)}. Give each task of the recipe one.")
        self.text = {task: str(rates[task]) for task in sizes}
        self.formulas = {task: _parse(task, text) for task, text in self.text.items()}

    def rates(self, step: int) -> Mapping[str, float]:
        found = {task: self._value(task, step) for task in self.formulas}
        if not any(found.values()):
            raise ConfigError(f"sampling.rates: every task's rate is 0 at step {step}.")
        return found

    def _value(self, task: str, step: int) -> float:
        known = {"step": float(step), "progress": self.horizon.progress(step), "size": float(self.sizes[task])}
        where = f"sampling.rates.{task}: '{self.text[task]}' is"
        try:
            value = _evaluate(self.formulas[task], known)
        except (ArithmeticError, ValueError) as error:
            raise ConfigError(f"{where} undefined at step {step} ({error}).") from error
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{where} {value} at step {step}. A rate is at least 0 and finite; max(0, ...) bounds it.")
        return value


def _parse(task: str, text: str) -> ast.expr:
    where = f"sampling.rates.{task}"
    if len(text) > LONGEST:
        raise ConfigError(f"{where}: a formula has at most {LONGEST} characters, found {len(text)}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{where}: '{text}' is no formula. Write one such as 'size ** 0.5 * (1 - progress)'.") from error
    _check(tree, where)
    return tree


def _check(node: ast.AST, where: str) -> None:
    match node:
        case ast.Name():
            if node.id not in NAMES:
                raise ConfigError(f"{where}: a formula has no '{node.id}'. {nearest(node.id, (*NAMES, *FUNCTIONS))}")
        case ast.Call(func=ast.Name() as function, keywords=[]):
            if function.id not in FUNCTIONS:
                raise ConfigError(f"{where}: a formula has no '{function.id}()'. {nearest(function.id, FUNCTIONS)}")
            few, many = (2, len(node.args)) if function.id in ("min", "max") else (1, 1)
            if not few <= len(node.args) <= many:
                raise ConfigError(f"{where}: {function.id}() takes {few} or more values, found {len(node.args)}.")
            for argument in node.args:
                _check(argument, where)
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            pass
        case ast.BinOp() | ast.UnaryOp() if type(node.op) in OPERATORS:
            for child in (node.left, node.right) if isinstance(node, ast.BinOp) else (node.operand,):
                _check(child, where)
        case ast.Compare(ops=[sign], comparators=[right]) if type(sign) in OPERATORS:
            _check(node.left, where)
            _check(right, where)
        case ast.IfExp():
            for child in (node.test, node.body, node.orelse):
                _check(child, where)
        case _:
            raise ConfigError(
                f"{where}: '{ast.unparse(node)}' can not stand in a formula. It takes numbers, {', '.join(NAMES)}, + - * / **, "
                f"<, <=, >, >=, `a if b else c` and {', '.join(FUNCTIONS)}."
            )


def _evaluate(node: ast.AST, known: Mapping[str, float]) -> float:
    """The value of a tree that `_check` let pass."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name():
            return known[node.id]
        case ast.Call(func=ast.Name() as function):
            return FUNCTIONS[function.id](*(_evaluate(argument, known) for argument in node.args))
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](_evaluate(node.operand, known))
        case ast.BinOp():
            return OPERATORS[type(node.op)](_evaluate(node.left, known), _evaluate(node.right, known))
        case ast.Compare(ops=[sign], comparators=[right]):
            return float(OPERATORS[type(sign)](_evaluate(node.left, known), _evaluate(right, known)))
        case ast.IfExp():
            return _evaluate(node.body if _evaluate(node.test, known) else node.orelse, known)
        case _:
            raise AssertionError(f"an unchecked formula: {ast.dump(node)}")
