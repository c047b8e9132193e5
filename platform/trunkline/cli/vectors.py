"""`trunkline vectors`: static word vectors from plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, help_if_alone, json_data, note, table
from trunkline.errors import UsageError

Texts = Annotated[list[Path], typer.Argument(help="UTF-8 text; a line is a sentence, words stand between spaces.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where the vectors go, in Word2Vec's text format.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode=None, help="Train static word vectors, or look at them.")
    group.callback(invoke_without_command=True)(help_if_alone)
    group.command("train")(train)
    group.command("pca")(pca)
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


def pca(
    source: Annotated[Path, typer.Argument(help="A file of word vectors, or a model folder, whose word table is looked at.")],
    words: Annotated[Path | None, typer.Option("--words", help="The words of an .npy.")] = None,
    width: Annotated[list[int] | None, typer.Option("--width", help="Again for each; by default halvings.")] = None,
    as_json: AsJson = False,
) -> None:
    """How much of the vectors' variance the best so many directions keep: what a narrower table can hold at most."""
    from trunkline.vectors.pca import halvings, kept_variance

    values = _values(source, words)
    kept = kept_variance(values, width or halvings(values.shape[1]))
    if as_json:
        json_data({"vectors": len(values), "dim": values.shape[1], "kept": {str(size): share for size, share in kept.items()}})
    else:
        note(f"{len(values):,} vectors of {values.shape[1]} entries")
        table(("width", "variance kept"), [(size, f"{share:.1%}") for size, share in kept.items()])


def _values(source: Path, words: Path | None) -> Any:
    """The vectors of a file or of a model's word table [V, E]."""
    if source.is_dir():
        from trunkline.build.model import load_model

        if words is not None:
            raise UsageError("a model folder has its words itself. Leave it out.", where="--words")
        return next(load_model(source).network.trunk.embeddings.parameters()).detach().numpy()
    from trunkline.models.vectors import read_vectors

    return read_vectors(source, None, words).values


def _setting(text: str) -> tuple[str, Any]:
    from trunkline.document.reader import parse_value

    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("a setting needs '='. Write epochs=10.", where=f"-s {text}")
    return name, parse_value(value, f"-s {text}")
