"""What a job learns from, by content: with other cards or rows it is another job."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from trunkline.build.task import open_source
from trunkline.tasks.card import Card
from trunkline.tasks.catalog import Catalog
from trunkline.tasks.sharing import tasks_of


def contents(tasks: Sequence[str], catalog: Catalog) -> list[list[str]]:
    """For each task that these entries of a recipe stand for: the texts of its card and of that whose rows it reads, the hash of
    its code, and the fingerprint of every split."""
    return [_content(card, catalog) for name in tasks for card in map(catalog.resolved, tasks_of(catalog.get(name)))]


def _content(card: Card, catalog: Catalog) -> list[str]:
    source = open_source(card, catalog)
    code = [hashlib.sha256(one.plugin.read_bytes()).hexdigest() for one in (card, card.host) if one.plugin is not None]
    return [card.whole.text, card.host.whole.text, *code, *(source.fingerprint(split) for split in source.splits())]
