"""Exports open in a fresh process by the library they are for, without ours, and give the same numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import trunkline
from small_project import write_project
from trunkline.build.export import export
from trunkline.cli.app import main
from trunkline.export.encoder import plain_encoder
from trunkline.export.stock import classifier
from trunkline.models.lora import Adapters, LoRA
from trunkline.models.transformer import Transformer
from trunkline.predict import Model

pytestmark = pytest.mark.timeout(600)  # other libraries are loaded in a process of their own
TEXTS = ["red river house", "warm bread", "cold quick slow old new paper glass"]
NEAR = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = write_project(tmp_path_factory.mktemp("project"))
    first = (recipe.parent.parent / "tasks" / "topic" / "card.yaml").read_text()
    (recipe.parent.parent / "tasks" / "topic" / "card.yaml").write_text(first.replace("pooling: mean", "pooling: first"))
    return trunkline.train(recipe, in_process=True, overrides=["train.steps=2", "train.evaluate_every=2"]).model


@pytest.fixture(scope="module")
def ours(model: Path) -> Model:
    return trunkline.load(model)


PROGRAM = """
import json, sys
sys.modules['trunkline'] = None
FOLDER, TEXTS = json.loads(sys.argv[1]), json.loads(sys.argv[2])
import numpy as np, onnxruntime, torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

def answer(auto, folder):
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, return_tensors='pt', padding=True, truncation=True)
    with torch.no_grad():
        return tokens, auto.from_pretrained(folder)(**tokens)

tokens, states = answer(AutoModel, FOLDER['hf'])
mask = tokens['attention_mask'][..., None]
found = {'hf': (states.last_hidden_state * mask).sum(1) / mask.sum(1)}
found['classifier'] = answer(AutoModelForSequenceClassification, FOLDER['classifier'])[1].logits
found['sentences'] = SentenceTransformer(FOLDER['sentences']).encode(TEXTS)
session = onnxruntime.InferenceSession(FOLDER['onnx'] + '/model.onnx')
padded = AutoTokenizer.from_pretrained(FOLDER['onnx'])(TEXTS, return_tensors='np', padding=True)
given = {one.name: padded[one.name].astype(np.int64) for one in session.get_inputs()}
found |= {one.name: value for one, value in zip(session.get_outputs(), session.run(None, given))}
print(json.dumps({name: value.tolist() for name, value in found.items()}))
"""
EXPORTS = {
    "hf": ("hf", []),
    "classifier": ("hf-classifier", ["topic"]),
    "sentences": ("sentence-transformers", ["answer"]),
    "onnx": ("onnx", ["topic", "score"]),
}


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("exports")
    return {name: export(model, form, place / name, tasks=tasks, say=lambda _: None) for name, (form, tasks) in EXPORTS.items()}


@pytest.fixture(scope="module")
def found(exported: dict[str, Path]) -> dict[str, np.ndarray]:
    """What the libraries give for TEXTS in one fresh process that can not see trunkline."""
    folders = json.dumps({name: str(folder) for name, folder in exported.items()})
    command = [sys.executable, "-c", PROGRAM, folders, json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: np.array(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def test_hf_is_an_encoder_of_transformers(found: dict[str, np.ndarray], ours: Model) -> None:
    np.testing.assert_allclose(found["hf"], ours.embed(TEXTS), **NEAR)


def test_hf_classifier_is_a_stock_class_that_gives_the_head_s_logits(
    exported: dict[str, Path], found: dict[str, np.ndarray], ours: Model
) -> None:
    np.testing.assert_allclose(found["classifier"], ours.scores("topic", TEXTS), **NEAR)
    config = json.loads((exported["classifier"] / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"] and "auto_map" not in config
    assert config["id2label"] == {"0": "water", "1": "land"}


def test_the_card_tells_results_data_licences_lineage_and_limits(exported: dict[str, Path]) -> None:
    card = (exported["classifier"] / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n") and "| topic | 1" in card and "train `" in card
    assert "run id: `small-" in card and "cut after 16 tokens" in card and "not stated" in card


def test_sentence_transformers_gives_a_contrastive_task_s_vectors(
    exported: dict[str, Path], found: dict[str, np.ndarray], ours: Model
) -> None:
    types = [part["type"] for part in json.loads((exported["sentences"] / "modules.json").read_text())]
    assert [kind.rpartition(".")[2] for kind in types] == ["Transformer", "Pooling", "Dense", "Normalize"]
    table = ours.network.head("answer").out
    wanted = ours.embed(TEXTS) @ table.weight.detach().numpy().T + table.bias.detach().numpy()
    np.testing.assert_allclose(found["sentences"], wanted / np.linalg.norm(wanted, axis=1, keepdims=True), **NEAR)


def test_onnx_holds_the_vector_and_the_heads_for_texts_of_any_length(found: dict[str, np.ndarray], ours: Model) -> None:
    np.testing.assert_allclose(found["vector"], ours.embed(TEXTS), **NEAR)
    np.testing.assert_allclose(found["topic"], ours.scores("topic", TEXTS), **NEAR)
    np.testing.assert_allclose(found["score"][:, 0], ours.scores("score", TEXTS), **NEAR)


def test_another_head_s_outputs_are_told_apart(found: dict[str, np.ndarray], ours: Model) -> None:
    assert np.abs(found["classifier"] - ours.scores("topic", TEXTS[::-1])).max() > 1e-3


@pytest.mark.parametrize(("form", "task"), [("hf", None), ("hf-classifier", "topic")])
def test_the_command_says_where_it_wrote(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, task: str | None
) -> None:
    more = ["--task", task] if task else []
    assert main(["export", str(model), "--format", form, "--to", str(tmp_path / "out"), "--json", *more]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(tmp_path / "out"), "format": form, "tasks": [task] if task else []}


def test_word2vec_is_read_by_gensim(model: Path, ours: Model, tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    export(model, "word2vec", tmp_path / "out", say=lambda _: None)
    vectors = KeyedVectors.load_word2vec_format(tmp_path / "out" / "vectors.txt")
    number = ours.tokenizer.inner.token_to_id("river")
    assert number is not None and "[CLS]" not in vectors
    weight = ours.network.trunk.embeddings.weight[number].detach().numpy()
    np.testing.assert_allclose(vectors["river"], weight, rtol=1e-5, atol=1e-6)


def adapted() -> tuple[Transformer, Adapters]:
    torch.manual_seed(0)
    trunk = Transformer(60, 0, 32, hidden_size=16, layers=2, heads=2).eval()
    adapters = Adapters(trunk.adaptable, {"a": LoRA(2, 8.0)})
    for pair in adapters.of("a").values():
        torch.nn.init.normal_(pair.lora_B, std=0.3)
    return trunk, adapters


def test_a_task_s_lora_is_merged_and_another_s_is_not() -> None:
    from trunkline.data.packing import Table, evaluation_packs, rows_of
    from trunkline.models.multitask import MultiTask

    trunk, adapters = adapted()
    network = MultiTask(trunk, {}, adapters)
    rows = rows_of([[5, 6, 7, 8, 9, 10]])
    (batch,) = evaluation_packs(
        {"a": Table(rows, lambda given, _: (given.tokens.values, {}), rows)}, rank=0, world=1, tokens_per_pass=99
    )
    tokens = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad(), network.adapters.over(batch):
        wanted = trunk(batch)
    with torch.no_grad():
        merged, plain = (plain_encoder(trunk, adapters, task)(input_ids=tokens).last_hidden_state[0] for task in ("a", "b"))
        untouched = trunk(batch)
    torch.testing.assert_close(merged, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(plain, untouched, rtol=0, atol=1e-5)
    assert (merged - plain).abs().max() > 0.05


@pytest.mark.parametrize("architecture", ["bert", "roberta", "albert"])
def test_stock_classes_of_several_architectures_give_the_head_s_outputs(architecture: str) -> None:
    from trunkline.models.heads.classification import Classification

    torch.manual_seed(1)
    trunk = Transformer(
        60, 1 if architecture == "roberta" else 0, 32, hidden_size=16, layers=1, heads=2, architecture=architecture
    )
    encoder = plain_encoder(trunk.eval(), None, None)
    head = Classification(16, 3).eval()
    made = classifier(encoder, head, ["a", "b", "c"])
    tokens = torch.randint(5, 60, (3, 7))
    with torch.no_grad():
        states = encoder(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        found = made(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    torch.testing.assert_close(found, head.out(states[:, 0]).detach(), rtol=0, atol=1e-5)
    head.out.weight.data *= 1.1
    assert (made(input_ids=tokens).logits - head.out(states[:, 0])).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--format", "gguf"], 2, "no format 'gguf'"),
        (["--format", "hf-classifier"], 2, "takes one --task"),
        (["--format", "hf-classifier", "--task", "tpoic"], 2, "Did you mean 'topic'?"),
        (["--format", "hf-classifier", "--task", "score"], 3, "the head pools by 'mean'"),
        (["--format", "hf-classifier", "--task", "words"], 3, "no stock class for a head of kind maskedlanguage"),
        (["--format", "sentence-transformers", "--task", "topic"], 3, "makes no vectors of texts"),
        (["--format", "sentence-transformers", "--pooling", "attention"], 3, "no pooling 'attention'"),
        (["--format", "onnx", "--task", "words"], 3, "is not one affine map"),
    ],
)
def test_what_can_not_be_exported_is_refused_with_a_sentence_and_leaves_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, said: str
) -> None:
    assert main(["export", str(model), "--to", str(tmp_path / "out"), *more]) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.glob(".out*")) == [] and not (tmp_path / "out").exists()


def test_what_is_there_already_stays(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(model), "--format", "hf", "--to", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
