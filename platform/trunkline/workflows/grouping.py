"""Which tasks to keep together: the partition under which tasks of a group agree most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EXACT = 12  # tasks up to which every partition is considered


def best_partition(agreement: np.ndarray) -> list[list[int]]:
    """Groups of 0..T-1 that maximise the sum of agreement [T, T], symmetric, over pairs in one group; ties go together.

    Branch and bound over all partitions up to 12 tasks: the rest can add no more than its positive pairs. Above, greedy: the two
    groups that agree most are joined for as long as they do.
    """
    return _exact(agreement) if len(agreement) <= EXACT else _greedy(agreement)


def gained(agreement: np.ndarray, groups: Sequence[Sequence[int]]) -> float:
    """The sum over pairs in one group."""
    return float(sum(agreement[i, j] for group in groups for i in group for j in group if i < j))


def _exact(agreement: np.ndarray) -> list[list[int]]:
    size = len(agreement)
    upper = np.triu(np.maximum(agreement, 0), 1)
    bound = [float(upper[:, task:].sum()) for task in range(size + 1)]  # what tasks from here on can add at most
    best, kept = -np.inf, [[task] for task in range(size)]

    def place(task: int, groups: list[list[int]], sum_so_far: float) -> None:
        nonlocal best, kept
        if sum_so_far + bound[task] <= best + 1e-12:
            return
        if task == size:
            best, kept = sum_so_far, [list(group) for group in groups]
            return
        gains = [float(agreement[task, group].sum()) for group in groups]
        for number in sorted(range(len(groups)), key=lambda number: -gains[number]):
            groups[number].append(task)
            place(task + 1, groups, sum_so_far + gains[number])
            groups[number].pop()
        groups.append([task])
        place(task + 1, groups, sum_so_far)
        groups.pop()

    place(0, [], 0.0)
    return kept


def _greedy(agreement: np.ndarray) -> list[list[int]]:
    groups = [[task] for task in range(len(agreement))]
    while len(groups) > 1:
        gain, one, other = max(
            (float(agreement[np.ix_(groups[i], groups[j])].sum()), -i, -j)
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        )
        if gain < 0:
            break
        groups[-one] = sorted(groups[-one] + groups[-other])
        del groups[-other]
    return groups
