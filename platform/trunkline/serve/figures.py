"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Figures:
    """Requests by path and status, their seconds, rows by task, passes through the trunk and the requests they answered."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.within: Counter[tuple[str, float]] = Counter()
        self.seconds: dict[str, float] = {}
        self.answered: Counter[str] = Counter()
        self.passes = self.gathered = 0

    def request(self, path: str, status: int, seconds: float) -> None:
        self.requests[path, status] += 1
        self.seconds[path] = self.seconds.get(path, 0.0) + seconds
        self.within.update((path, bound) for bound in BOUNDS_S if seconds <= bound)

    def rows(self, counts: Mapping[str, int]) -> None:
        self.answered.update(counts)

    def passed(self, requests: int) -> None:
        self.passes += 1
        self.gathered += requests

    def text(self) -> str:
        """The exposition format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats."""
        lines = _metric("requests_total", "counter", ((_labels(path=p, status=s), n) for (p, s), n in self.requests.items()))
        lines += ["# TYPE trunkline_serve_request_seconds histogram"]
        for path, seconds in self.seconds.items():
            total = sum(count for (own, _), count in self.requests.items() if own == path)
            bounds = [(str(bound), self.within[path, bound]) for bound in BOUNDS_S]
            name = "trunkline_serve_request_seconds"
            lines += [f"{name}_bucket{_labels(path=path, le=bound)} {count}" for bound, count in [*bounds, ("+Inf", total)]]
            lines += [f"{name}_sum{_labels(path=path)} {seconds:.6f}", f"{name}_count{_labels(path=path)} {total}"]
        lines += _metric("rows_total", "counter", ((_labels(task=task), count) for task, count in self.answered.items()))
        lines += _metric("passes_total", "counter", [("", self.passes)])
        lines += _metric("passed_requests_total", "counter", [("", self.gathered)])
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, values: Iterable[tuple[str, int]]) -> list[str]:
    return [f"# TYPE trunkline_serve_{name} {kind}", *(f"trunkline_serve_{name}{labels} {value}" for labels, value in values)]


def _labels(**labels: object) -> str:
    told = ",".join(f'{key}="{str(value).translate(ESCAPED)}"' for key, value in labels.items())
    return f"{{{told}}}"
