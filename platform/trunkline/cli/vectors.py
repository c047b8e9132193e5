"""`trunkline vectors`: static word vectors from plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, help_if_alone, json_data, note
from trunkline.errors import UsageError

Texts = Annotated[list[Path], typer.Argument(help="UTF-8 text; a line is a sentence, words stand between spaces.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where the vectors go, in Word2Vec's text format.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode=None, help="Train static word vectors.")
    group.callback(invoke_without_command=True)(help_if_alone)
    group.command("train")(train)
    app.add_typer(group, name="vectors")


def train(
    texts: Texts,
    out: Out,
    method: Annotated[str, typer.Option("--method", help="skipgram, cbow or glove.")] = "skipgram",
    dim: Annotated[int, typer.Option("--dim", help="Numbers of a vector.")] = 100,
    min_count: Annotated[int, typer.Option("--min-count", help="Rarer words are left out.")] = 5,
    lower: Annotated[bool, typer.Option("--lower", help="In lower case.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is drawn.", min=0)] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("-s", help="An argument of the method, such as epochs=10.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train vectors on text and write them."""
    from trunkline.registry import VECTORS
    from trunkline.vectors.base import whole
    from trunkline.vectors.corpus import read_corpus

    given = {"dim": dim, **dict(_setting(text) for text in settings or [])}
    VECTORS.check(method, given)
    trainer = VECTORS.get(method)(**given)
    corpus = read_corpus(texts, lower=lower, min_count=whole("--min-count", min_count))
    note(f"{len(corpus.ids)} words of text, {len(corpus.words)} different ones that stand there {min_count} times or more")
    vectors = trainer.train(corpus, seed=seed, say=note)
    vectors.save(out)
    if as_json:
        json_data({"path": str(out), "method": method, "words": len(vectors.words), "dim": vectors.values.shape[1]})
    else:
        data(str(out))


def _setting(text: str) -> tuple[str, Any]:
    from trunkline.document.reader import parse_value

    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("a setting needs '='. Write epochs=10.", where=f"-s {text}")
    return name, parse_value(value, f"-s {text}")
