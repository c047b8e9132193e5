"""What a run that is kept for the next time learned from: its cards and their data."""

from __future__ import annotations

from typing import Any

from trunkline.build.prepare import load_cards, open_sources
from trunkline.config.recipe import Recipe
from trunkline.tasks.catalog import catalog_for


def learned_from(recipe: Recipe) -> dict[str, list[Any]]:
    """Entry of the recipe -> the texts of its cards and plugins, and the fingerprints of their data's splits."""
    assert recipe.path is not None
    catalog = catalog_for(recipe.path, recipe.catalog, where=recipe.where("catalog"))
    cards = load_cards(recipe, catalog)
    sources = open_sources(recipe, cards, catalog)
    found = {}
    for use in recipe.tasks:
        mine = [card for card in cards.values() if use.task in (card.name, card.whole.name)]
        texts = [text for card in mine for text in (card.text, card.plugin and card.plugin.read_text()) if text]
        data = [[sources[card.name].fingerprint(split) for split in sources[card.name].splits()] for card in mine]
        found[use.task] = [texts, data]
    return found
