"""`trunkline evaluate --suite embed`: every measure on small sets, and what it says to a user's mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trunkline.cli.app import main

WORDS = ["king", "queen", "man", "woman", "cat", "dog", "red", "blue"]
Captured = pytest.CaptureFixture[str]


def card(folder: Path, name: str, body: str, rows: list[dict[str, object]], test: list[dict[str, object]] | None = None) -> None:
    place = folder / "tasks" / name
    place.mkdir(parents=True)
    splits = {"train": rows, **({"test": test} if test else {})}
    for split, own in splits.items():
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    files = ", ".join(f"{split}: {split}.jsonl" for split in splits)
    (place / "card.yaml").write_text(f"name: {name}\ndata: {{format: jsonl, {files}}}\n{body}\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    # royal, male, female, pet, hue
    base = {"king": [1, 1, 0, 0, 0], "queen": [1, 0, 1, 0, 0], "man": [0, 1, 0, 0, 0], "woman": [0, 0, 1, 0, 0]}
    base |= {"cat": [0, 0, 0, 1, 0], "dog": [0, 0, 0, 1, 0.2], "red": [0, 0, 0, 0, 1], "blue": [0, 0, 0, 0.1, 1]}
    lines = [f"{word} " + " ".join(map(str, base[word])) for word in WORDS]
    (tmp_path / "vectors.txt").write_text("\n".join(lines) + "\n")
    pair = "inputs: [a, b]\ntarget: score\nhead: {kind: regression}"
    pairs = [("king", "queen", 8), ("cat", "dog", 9), ("cat", "red", 1), ("king", "blue", 0), ("King", "nowhere", 5)]
    card(tmp_path, "alike", pair, [{"a": a, "b": b, "score": s} for a, b, s in pairs])
    texts = [{"a": f"{a} {a}", "b": f"{b} the", "score": s} for a, b, s in pairs]
    card(tmp_path, "sentences", pair, texts)
    asked = {"a": "queen", "b": "king", "c": "woman", "d": "man"}
    card(tmp_path, "google", "inputs: [c]\ntarget: d\nhead: {kind: contrastive}", [asked])
    label = "inputs: [text]\ntarget: label\nhead: {kind: classification, labels: [pet, hue]}"
    rows = [
        {"text": f"{w} {w} {rng.choice(['man', 'woman'])}", "label": "pet" if w in ("cat", "dog") else "hue"}
        for w in WORDS[4:] * 6
    ]
    card(tmp_path, "sorts", label, rows, rows[:8])
    card(
        tmp_path,
        "find",
        "inputs: [q]\ntarget: d\nhead: {kind: contrastive}",
        [{"q": "cat", "d": "dog"}, {"q": "red", "d": "blue"}],
    )
    (tmp_path / "embed.yaml").write_text(
        "words: [alike]\nsts: [sentences]\nanalogies: [google]\nretrieval: [find]\nclusters: [sorts]\nprobes: [sorts]\n"
    )
    return tmp_path


def run(project: Path, *more: str) -> list[str]:
    return ["evaluate", str(project / "vectors.txt"), "--suite", "embed", "--sets", str(project / "embed.yaml"), *more]


def test_every_measure_gives_its_figures_for_a_file_of_vectors(project: Path, capsys: Captured) -> None:
    assert main(run(project, "--draws", "30", "--near", "cat", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    value = {(s["name"], s["measure"], s["metric"]): s for s in found["scores"]}
    alike = value["alike", "words", "spearman"]
    assert alike["value"] == pytest.approx(0.8, abs=0.21) and (alike["of"], alike["known"]) == (5, 4)
    assert value["google", "analogies", "3cosadd"]["value"] == value["google", "analogies", "3cosmul"]["value"] == 1
    assert value["find", "retrieval", "ndcg"]["value"] == 1
    assert value["sorts", "clusters", "v_measure"]["value"] > 0.9
    assert value["sorts", "probe", "accuracy, layer 0"]["value"] == 1
    assert {"partition", "mean_cosine", "dimensions", "uniformity"} <= {
        s["metric"] for s in found["scores"] if s["name"] == "texts"
    }
    assert found["neighbours"]["cat"][0][0] == "dog" and found["curves"].keys() == {"alike", "sentences"}


def test_neighbours_are_told_beside_those_of_another_model(project: Path, capsys: Captured) -> None:
    lines = (project / "vectors.txt").read_text().splitlines()
    words = [line.split(" ", 1) for line in lines[1:]]
    turned = [f"{word} {vector}" for (word, _), (_, vector) in zip(words, words[1:] + words[:1], strict=True)]
    (project / "turned.txt").write_text("\n".join([lines[0], *turned]) + "\n")  # each word has the vector of the next
    assert main(run(project, "--draws", "0", "--near", "cat", "--against", str(project / "turned.txt"), "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["neighbours"]["cat"][0][0] == "dog" != found["neighbours_of_other"]["cat"][0][0]
    assert main(run(project, "--draws", "0", "--near", "cat", "--against", str(project / "vectors.txt"))) == 0
    shown = capsys.readouterr().out.splitlines()
    own = next(line for line in shown if line.startswith("cat: "))
    count = own.count(",") + 1
    assert f"  other: {own.removeprefix('cat: ')}" in shown and f"  in both: {count} of {count}" in shown


def test_for_people_it_is_tables(project: Path, capsys: Captured) -> None:
    assert main(run(project, "--draws", "0", "--near", "nowhere")) == 0
    out = capsys.readouterr().out
    assert (
        out.startswith("set")
        and "3cosmul" in out
        and "spearman of vectors cut to d entries" in out
        and "nowhere: no vector" in out
    )


@pytest.mark.parametrize(
    ("suite", "code", "said"),
    [
        ("word: [alike]", 3, "Did you mean 'words'?"),
        ("words: [alkie]", 3, "no task named 'alkie'"),
        ("words: [sorts]", 3, "`words` of a suite reads 2 input column(s), found 1."),
        ("probes: [alike]", 3, "`probes` of a suite reads 1 input column(s), found 2."),
        ("words: [{task: alike, splt: test}]", 3, "an entry takes no 'splt'"),
        ("words: [{task: alike, split: test}]", 3, "alike has no split 'test'"),
        ("words: [{task: alike, most: -1}]", 3, "most is a number of rows"),
        ("analogies: [alike]", 4, "no column 'c'"),
        ("catalog: [tasks]", 3, "the suite names no sets"),
        ("words: alike", 3, "a list of cards is needed"),
    ],
)
def test_a_wrong_suite_is_refused_with_a_sentence(project: Path, capsys: Captured, suite: str, code: int, said: str) -> None:
    (project / "embed.yaml").write_text(suite + "\n")
    assert main(run(project)) == code
    assert said in capsys.readouterr().err


def test_a_suite_without_data_or_of_another_name_or_of_no_model_is_refused(project: Path, capsys: Captured) -> None:
    assert main(["evaluate", "m", "--suite", "embed"]) == 2
    assert "name the YAML file" in capsys.readouterr().err
    assert main(["evaluate", "m", "--suite", "mebed"]) == 2
    assert main(["evaluate", str(project), "--suite", "embed", "--sets", str(project / "embed.yaml")]) == 3
    assert "no file of word vectors" in capsys.readouterr().err
    (project / "tasks" / "alike" / "train.jsonl").unlink()
    assert main(run(project)) == 4
    assert "train.jsonl: no such file" in capsys.readouterr().err
