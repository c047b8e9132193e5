"""Who pulls against whom, for a tracker that shows tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.errors import MissingExtra

PREFIX = "grad/cosine/"
LONGER = 1.25


class HeatMap:
    """What was last said of each pair of tasks, `grad/cosine/<a>/<b>`, as a matrix that is symmetric and 1 on its diagonal.

    Pictures are files: there is one when the first pair was seen, one each time the run is a quarter longer, and one in the end.
    """

    def __init__(self) -> None:
        self._cosines: dict[tuple[str, str], float] = {}
        self._step, self._drawn_at = 0, 0

    def see(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name.startswith(PREFIX):
                one, _, other = name.removeprefix(PREFIX).partition("/")
                self._cosines[one, other] = float(value)
                self._step = step

    def due(self, *, last: bool = False) -> bool:
        """Whether there is something new to show, and it is time. last: it is, for there will be no other."""
        return self._step > self._drawn_at and (last or self._step >= LONGER * self._drawn_at)

    def draw(self) -> tuple[int, list[str], list[list[float | None]]]:
        """The step it is of, tasks in order of the pairs, cosines [T][T]: None for two that were never seen together."""
        self._drawn_at = self._step
        tasks = list(dict.fromkeys(name for pair in self._cosines for name in pair))
        found = [
            [1.0 if one == other else self._cosines.get((one, other), self._cosines.get((other, one))) for other in tasks]
            for one in tasks
        ]
        return self._step, tasks, found


def figure(tasks: list[str], cosines: list[list[float | None]]) -> Any:
    """A Plotly figure: red where two tasks are opposed, blue where they agree, white between. Raises MissingExtra."""
    try:
        from plotly.graph_objects import Figure, Heatmap
    except ImportError as error:
        raise MissingExtra("plotly", "plots") from error
    written = [["" if value is None else f"{value:+.2f}" for value in row] for row in cosines]
    cells = Heatmap(z=cosines, x=tasks, y=tasks, zmin=-1, zmax=1, colorscale="RdBu", text=written, texttemplate="%{text}")
    found = Figure(cells, {"title": {"text": "cosine of the tasks' gradients"}})
    found.update_yaxes(autorange="reversed")
    return found
