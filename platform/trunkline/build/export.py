"""`trunkline export`: a model folder in another library's form, beside a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.build.model import load_model
from trunkline.build.task import open_source
from trunkline.errors import ConfigError, UsageError, nearest
from trunkline.export.card import Source, model_card
from trunkline.export.encoder import plain_encoder
from trunkline.export.onnx import Padded, write_onnx
from trunkline.export.sentences import write_modules
from trunkline.export.stock import classifier
from trunkline.models.heads.base import Head
from trunkline.predict import Model
from trunkline.tasks.card import load_card
from trunkline.tasks.catalog import Catalog, nearest_folder
from trunkline.vectors.base import Vectors


@dataclass(frozen=True)
class Wanted:
    """What is exported. tasks: whose heads, and whose LoRA is merged; pooling: of the vector where no head says."""

    model: Model
    tasks: Sequence[str]
    pooling: str

    def head(self, task: str) -> Head:
        return self.model.network.head(self.model.task(task).name)

    def one(self, form: str) -> str:
        """The only task. Raises UsageError for none or several."""
        if len(self.tasks) != 1:
            raise UsageError(f"--format {form} takes one --task, found {len(self.tasks)}. {nearest('', self.model.tasks)}")
        return self.tasks[0]

    def encoder(self) -> Any:
        """The trunk with the tasks' LoRA. Raises ConfigError where they do not have the same trunk."""
        adapters = self.model.network.adapters
        own = [task for task in self.tasks if adapters is not None and task in adapters.wanted]
        if own and len(self.tasks) > 1:
            raise ConfigError(f"{', '.join(own)} changes the trunk for itself (LoRA), so it can only be exported alone.")
        return plain_encoder(self.model.network.trunk, adapters, own[0] if own else None)


def export(
    folder: Path, form: str, to: Path, *, tasks: Sequence[str] = (), pooling: str = "mean", say: Callable[[str], None]
) -> Path:
    """Writes `to`, which must not be there yet: whole or not at all. Raises UsageError, ConfigError, MissingExtra."""
    if form not in FORMATS:
        raise UsageError(f"no format '{form}'. {nearest(form, FORMATS)}", where="--format")
    if to.exists():
        raise UsageError("is there already. Name a new place.", where=str(to))
    near = nearest_folder(folder.resolve()) or nearest_folder(Path.cwd())
    catalog = Catalog([near]) if near else None
    model = load_model(folder, catalog)
    for task in tasks:
        model.task(task)
    temporary = to.with_name(f".{to.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        use, library = FORMATS[form](Wanted(model, tasks, pooling), temporary)
        sources = _sources(folder, model, tasks, catalog)
        card = model_card(_stated(model, sources), sources, tasks, use, library)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        temporary.rename(to)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say(f"{to}: {sum(path.stat().st_size for path in to.rglob('*') if path.is_file()):,} bytes")
    return to


def _stated(model: Model, sources: Sequence[Source]) -> dict[str, Any]:
    return {**model.manifest, "licences_missing": any(source.licence is None for source in sources)}


def _sources(folder: Path, model: Model, tasks: Sequence[str], catalog: Catalog | None) -> list[Source]:
    """What the data of the tasks (all, of a trunk) is, with its hashes where the cards are at hand."""
    there = set(catalog.names()) if catalog is not None else set()
    found = []
    for name in tasks or model.tasks:
        card = load_card(folder / "heads" / name / "card.yaml", with_data=False)
        prints: dict[str, str] = {}
        if catalog is not None and name in there:
            source = open_source(catalog.get(name), catalog)
            prints = {split: source.fingerprint(split) for split in source.splits()}
        about = model.manifest["tasks"][name]
        found.append(Source(name, card.summary, card.licence, tuple(card.language or ()), about["fingerprint"], prints))
    return found


def _hf(wanted: Wanted, folder: Path) -> tuple[str, str]:
    wanted.encoder().save_pretrained(folder)
    wanted.model.tokenizer.save(folder)
    return "from transformers import AutoModel, AutoTokenizer\n\nmodel = AutoModel.from_pretrained(FOLDER)", "transformers"


def _hf_classifier(wanted: Wanted, folder: Path) -> tuple[str, str]:
    task = wanted.one("hf-classifier")
    labels = getattr(wanted.model.task(task).encoding, "labels", None)
    made = classifier(wanted.encoder(), wanted.head(task), labels)
    made.save_pretrained(folder)
    wanted.model.tokenizer.save(folder)
    auto = type(made).__name__.removeprefix(type(made.base_model).__name__.removesuffix("Model"))
    return (
        f"from transformers import Auto{'Model' + auto}\n\nmodel = Auto{'Model' + auto}.from_pretrained(FOLDER)",
        "transformers",
    )


def _sentence_transformers(wanted: Wanted, folder: Path) -> tuple[str, str]:
    head = None
    if wanted.tasks:
        task = wanted.one("sentence-transformers")
        head = wanted.head(task)
        if not head.vectors:
            raise ConfigError(f"task '{task}' makes no vectors of texts. Leave --task out for the trunk's own, by --pooling.")
    _hf(wanted, folder)
    write_modules(folder, wanted.model.width, wanted.model.tokenizer.max_length, wanted.pooling, head)
    use = "from sentence_transformers import SentenceTransformer\n\nvectors = SentenceTransformer(FOLDER).encode(['a text'])"
    return use, "sentence-transformers"


def _onnx(wanted: Wanted, folder: Path) -> tuple[str, str]:
    encoder = wanted.encoder()
    model = Padded(encoder, {task: wanted.head(task) for task in wanted.tasks}, wanted.pooling)
    segments = getattr(encoder.config, "type_vocab_size", 0) > 1
    write_onnx(folder / "model.onnx", model, list(wanted.tasks), segments=segments)
    wanted.model.tokenizer.save(folder)
    labels = {task: getattr(wanted.model.task(task).encoding, "labels", None) for task in wanted.tasks}
    stated = {"pooling": wanted.pooling, "max_length": wanted.model.tokenizer.max_length, "labels": labels}
    (folder / "outputs.json").write_text(json.dumps(stated, indent=1, ensure_ascii=False), encoding="utf-8")
    return "import onnxruntime\n\nsession = onnxruntime.InferenceSession('FOLDER/model.onnx')", "onnx"


def _word2vec(wanted: Wanted, folder: Path) -> tuple[str, str]:
    """The trunk's table of token vectors, ordinary tokens alone."""
    tokenizer = wanted.model.tokenizer
    weight = next(wanted.model.network.trunk.embeddings.parameters()).detach().float().cpu().numpy()
    ids = [int(number) for number in tokenizer.normal_ids if " " not in tokenizer.token(number) and tokenizer.token(number)]
    Vectors([tokenizer.token(number) for number in ids], weight[ids]).save(folder / "vectors.txt")
    return "from gensim.models import KeyedVectors\n\nvectors = KeyedVectors.load_word2vec_format('FOLDER/vectors.txt')", "gensim"


FORMATS: Mapping[str, Callable[[Wanted, Path], tuple[str, str]]] = {
    "hf": _hf,
    "hf-classifier": _hf_classifier,
    "sentence-transformers": _sentence_transformers,
    "onnx": _onnx,
    "word2vec": _word2vec,
}
