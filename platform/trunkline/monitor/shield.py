"""Where a monitor's exceptions end, whatever they are: a monitor never stops a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shielded(on_error: Callable[[Exception], None]) -> Iterator[None]:
    """Hands whatever the block raises to `on_error` and goes on. Interrupts and exits pass."""
    try:
        yield
    except Exception as error:
        on_error(error)


def sentence(error: BaseException) -> str:
    """An error in one line, with its type, cut to 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
