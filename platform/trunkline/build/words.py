"""What the run's tokenizer and training rows tell the trunk, and whether tokenizer and trunk belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trunkline.config.recipe import Recipe
from trunkline.data.store import SplitJob, StoredSplit
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import model_folder
from trunkline.errors import ConfigError
from trunkline.models.base import Words


def words_of(tokenizer: Tokenizer, drawn: Sequence[tuple[SplitJob, StoredSplit]], seed: int) -> Words:
    """drawn: the stored splits of the tasks that rows are drawn from."""
    ordinary = set(tokenizer.normal_ids.tolist())
    spelled = [spelling(tokenizer, number) if number in ordinary else "" for number in range(tokenizer.vocab_size)]
    tokens = [split.rows.tokens for job, split in drawn if job.split == "train"]
    return Words(spelled, [(rows.values, rows.starts) for rows in tokens], seed)


def spelling(tokenizer: Tokenizer, number: int) -> str:
    """A token as people write it: without the mark of a word's start, in letters instead of bytes. `##` stays before the inside
    of a word."""
    return tokenizer.decode([number], skip_special=False).strip() or tokenizer.token(number)


def told(start: Mapping[str, Any]) -> Iterator[str]:
    """What people are told of the trunk's start."""
    if "vectors" in start:
        total = start["tokens"]
        share = (start["found"] + start["found_lower_cased"]) / max(1, total)
        yield (
            f"embeddings: {share:.1%} of {total:,} tokens start from {start['vectors']} ({start['words_in_file']:,} words of "
            f"{start['dim']} entries): {start['found']:,} found, {start['found_lower_cased']:,} found lower-cased, "
            f"{start['missing']:,} missing ({start['missing_set']})"
        )
    if "weights" in start:
        yield f"trunk: {start['weights']} weights of words from {start['weights_from_rows']:,} training rows"


def check_tokenizer(recipe: Recipe, tokenizer: Tokenizer) -> None:
    """Raises ConfigError where the trunk's folder has a tokenizer that gives an id to another token. Hub names pass."""
    source = recipe.trunk.arguments.get("pretrained")
    if not isinstance(source, str) or not (source.startswith("package:") or Path(source).is_dir()):
        return
    folder = model_folder(source)
    if not (folder / "tokenizer.json").is_file():
        return
    theirs = Tokenizer.load(folder)
    both = min(theirs.vocab_size, tokenizer.vocab_size)
    other = [number for number in range(both) if theirs.token(number) != tokenizer.token(number)]
    if other:
        first = other[0]
        raise ConfigError(
            f"the trunk in '{source}' was trained with another tokenizer: {len(other):,} of {both:,} ids stand for other tokens, "
            f"the first is {first}, {theirs.token(first)!r} there and {tokenizer.token(first)!r} here. "
            f"Write tokenizer: {{kind: pretrained, source: {source}}}.",
            where=recipe.where("tokenizer"),
        )
