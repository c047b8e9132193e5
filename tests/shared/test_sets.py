"""Every shared set loads through a card, with the rows its README states. Cards read `data/`, linked beside them by the test."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trunkline.build.task import check_task, make_encoding, open_source, reading
from trunkline.data.rows import Ragged
from trunkline.data.sources.chunk import Chunk
from trunkline.data.tokenizer import Tokenizer
from trunkline.data.vocabulary import WordPiece
from trunkline.metrics.span import ExactMatch
from trunkline.tasks.card import Card, load_card

pytestmark = pytest.mark.shared

CARDS = Path(__file__).parent / "cards"
ALL = "all"  # what the README counts before the card's own split
ROWS: dict[str, dict[str, int]] = {
    "ag_news_7600": {ALL: 7600},
    "analogies_google": {"train": 19544},
    "analogies_ca8": {"train": 17813},
    "atis": {"train": 4478, "validation": 500, "test": 893},
    "banking77": {"train": 10003, "test": 3080},
    "cisi": {ALL: 3114},
    "cisi_documents": {ALL: 1460},
    "cisi_queries": {ALL: 112},
    "cola": {"train": 8551, "validation": 527, "test": 516},
    "conll2000": {"train": 8936, "test": 2012},
    "conll2003": {"train": 14041, "validation": 3250, "test": 3453},
    "cranfield": {ALL: 1837},
    "cranfield_documents": {ALL: 1400},
    "cranfield_queries": {ALL: 225},
    "cranfield_ranked": {ALL: 1837 - 1},  # one judges document 471, which has no text
    "cranfield_relevant": {ALL: 1837 - 225},  # each query has one judgement of -1
    "goemotions": {"train": 43410, "validation": 5426, "test": 5427},
    "mr": {ALL: 10662},
    "mrpc": {"train": 3576, "validation": 500, "test": 1725},
    "multi30k_en_de": {"train": 29000, "validation": 1014, "test": 1000 + 1000},
    "restaurant8k": {"train": 8198, "test": 3731},
    "rte": {"train": 2490, "validation": 277},
    "snli_small": {"train": 9842, "test": 9824},
    "squad_small": {"train": 11877, "validation": 4961, "test": 5609},
    "sst2": {"train": 6920, "validation": 872, "test": 1821},
    "sst5": {"train": 8544, "validation": 1101, "test": 2210},
    "sts12_16": {ALL: 22004},
    "stsb": {"train": 5749, "validation": 1500, "test": 1379},
    "stsb_cosine": {"train": 5749, "validation": 1500, "test": 1379},
    "subj": {ALL: 10000},
    "tatoeba_en_zh": {ALL: 20133},
    "trec6": {"train": 5452, "test": 500},
    "trecqa": {"train": 4718, "validation": 1148, "test": 1517},
    "ud_english_lines": {"train": 3457, "validation": 1118, "test": 1121},
    "wordsim": {"train": 30 + 287 + 65 + 999 + 353 + 252 + 203},
    "wordsim_cosine": {"train": 30 + 287 + 65 + 999 + 353 + 252 + 203},
    "xquad": {"train": 1190, "validation": 1190, "test": 1190},
    "zh_chnsenticorp": {"train": 9600, "validation": 1200, "test": 1200},
    "zh_cmrc2018": {"train": 3219, "test": 1002},
    "zh_fewclue_bustm": {"train": 160, "validation": 160, "test": 1772},
    "zh_fewclue_eprstmt": {"train": 160, "validation": 160, "test": 610},
    "zh_fewclue_ocnli": {"train": 160, "validation": 160, "test": 2520},
    "zh_stsb": {"train": 5231, "validation": 1458, "test": 1361},
    "zh_weibo_ner": {"train": 1350, "validation": 270, "test": 270},
}
# Of cards that gather lines: the queries with a line, and those that rank something ("clean" in the README of trecqa).
LISTS: dict[str, dict[str, tuple[int, int]]] = {
    "cranfield_ranked": {ALL: (225, 225)},
    "trecqa": {"train": (93, 78), "validation": (81, 65), "test": (95, 68)},
}
# Thousands of words, which the README of lm_corpora states instead of rows.
WORDS = {"wikitext2": {"train": 214, "test": 241}, "tinyshakespeare": {ALL: 203}, "brown": {ALL: 1161}}


@pytest.fixture
def folder(tmp_path: Path, shared: Path) -> Path:
    (tmp_path / "data").symlink_to(shared)
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return WordPiece(vocab_size=60).build(["the quick brown fox jumps over the lazy dog 0123456789"], max_length=64)


def load(folder: Path, name: str) -> Card:
    (folder / f"{name}.yaml").write_text((CARDS / f"{name}.yaml").read_text())
    return load_card(folder / f"{name}.yaml")


def chunks(card: Card, split: str) -> list[Chunk]:
    return list(open_source(card, None).read(split))


def lines(card: Card, chunk: Chunk) -> int:
    """Rows as the README counts them: before they are gathered into lists."""
    return len(chunk) if card.data.gather is None else sum(map(len, chunk.columns[card.data.gather.lists[0]]))


def test_every_set_has_a_card(shared: Path) -> None:
    there = {path.name for path in shared.iterdir() if path.is_dir()}
    read = {part.split("/")[1] for path in CARDS.iterdir() for part in path.read_text().split() if "data/" in part}
    assert there == read and {path.stem for path in CARDS.iterdir()} == ROWS.keys() | WORDS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_card_gives_the_rows_its_readme_states(name: str, folder: Path, tokenizer: Tokenizer) -> None:
    card = load(folder, name)
    splits = open_source(card, None).splits()
    found = {split: sum(lines(card, chunk) for chunk in chunks(card, split)) for split in splits}
    assert ({ALL: sum(found.values())} if ALL in ROWS[name] else found) == ROWS[name]
    assert len(check_task(card, None, tokenizer)) == (1 + len(splits)) * (len(card.parts) or 1)


@pytest.mark.parametrize("name", LISTS)
def test_gathered_cards_have_a_list_for_each_query_and_leave_out_those_that_rank_nothing(
    name: str, folder: Path, tokenizer: Tokenizer
) -> None:
    card = load(folder, name)
    encoding, found = make_encoding(card, tokenizer), Counter[str]()
    for split in open_source(card, None).splits():
        for chunk in chunks(card, split):
            picked = reading(card).select(chunk, encoding.wanted)
            where = split if ALL not in LISTS[name] else ALL
            found[f"{where} lists"] += len(picked)
            found[f"{where} kept"] += int(encoding.encode(picked.columns, where=picked.where).counts.sum())
    assert found == {
        f"{split} {what}": n for split, both in LISTS[name].items() for what, n in zip(("lists", "kept"), both, strict=True)
    }


@pytest.mark.parametrize("name", WORDS)
def test_a_corpus_gives_the_words_its_readme_states(name: str, folder: Path, tokenizer: Tokenizer) -> None:
    card = load(folder, name)
    texts = {s: [t for c in chunks(card, s) for t in c.columns["text"]] for s in open_source(card, None).splits()}
    found = {split: sum(len(text.split()) for text in read) for split, read in texts.items()}
    found = {ALL: sum(found.values())} if ALL in WORDS[name] else found
    assert {split: round(count / 1000) for split, count in found.items()} == WORDS[name]
    check_task(card, None, tokenizer)


def test_wordsim_counts_hold_for_each_file(folder: Path) -> None:
    found = Counter[str]()
    for chunk in chunks(load(folder, "wordsim"), "train"):
        assert chunk.where is not None
        found.update(chunk.where(row).split("/EN-")[1].split(".")[0] for row in range(len(chunk)))
    assert found.pop("MC-30") == 30 and found.pop("RG-65") == 65 and found.pop("MTurk-287") == 287
    assert found == {"SIMLEX-999": 999, "WS-353-ALL": 353, "WS-353-REL": 252, "WS-353-SIM": 203}


def test_sts12_16_keeps_the_rows_that_carry_a_score(folder: Path) -> None:
    card = load(folder, "sts12_16")
    kept = [
        reading(card).select(chunk, ["first", "second", "score"]) for split in ("train", "test") for chunk in chunks(card, split)
    ]
    assert sum(map(len, kept)) == 11550


def test_goemotions_labels_are_lists_of_28(folder: Path) -> None:
    card = load(folder, "goemotions")
    rows = [labels for chunk in chunks(card, "train") for labels in reading(card).select(chunk, ["labels"]).columns["labels"]]
    assert {label for labels in rows for label in labels} == set(map(str, range(28))) and max(map(len, rows)) > 1
    assert all(labels for labels in rows)


def test_conll2003_tags_are_bio(folder: Path) -> None:
    for chunk in chunks(load(folder, "conll2003"), "train"):
        for tags in chunk.columns["ner"]:
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[1:] == tag[1:]


@pytest.mark.parametrize("name", ["squad_small", "xquad", "zh_cmrc2018"])
def test_answers_begin_where_squad_files_say(name: str, folder: Path) -> None:
    card = load(folder, name)
    rows = Counter[bool]()
    for split in open_source(card, None).splits():
        for chunk in chunks(card, split):
            for text, answer, start in zip(*(chunk.columns[key] for key in ("context", "answer", "start")), strict=True):
                rows[text[start : start + len(answer)] == answer] += 1
    assert rows[True] > 0.95 * rows.total()


@pytest.mark.parametrize(
    ("name", "split"), [("squad_small", "validation"), ("xquad", "train"), ("xquad", "validation"), ("zh_cmrc2018", "test")]
)
def test_who_knows_the_gold_places_of_questions_gets_all_answers_right(
    name: str, split: str, folder: Path, tokenizer: Tokenizer
) -> None:
    card = load(folder, name)
    encoding = make_encoding(card, Tokenizer(tokenizer.inner, tokenizer.special, max_length=192))
    exact = ExactMatch()
    for chunk in chunks(card, split):
        picked = reading(card).select(chunk, encoding.wanted)
        rows = encoding.encode(picked.columns, where=picked.where)
        starts, ends = (rows.targets[mark] for mark in ("is_start", "is_end"))
        assert isinstance(starts, Ragged) and isinstance(ends, Ragged) and rows.counts.all()
        first = [[int(own.argmax()) for own in np.split(part.values, part.starts[1:-1])] for part in (starts, ends)]
        outputs = np.array([*first, np.zeros(len(rows)), np.full(len(rows), -9)], float).T
        ids = np.arange(len(rows))
        exact.update(ids, **encoding.records(outputs, encoding.aside_of(rows, ids)))
    assert exact.compute() > 0.96


def test_weibo_words_are_single_characters(folder: Path) -> None:
    card = load(folder, "zh_weibo_ner")
    words = [word for chunk in chunks(card, "train") for row in chunk.columns["words"] for word in row]
    assert set(map(len, words)) == {1} and len(words) > 70_000


NAMES = "names: [label, text]"
VARIANTS = {
    "other delimiter, no header": ("a.txt", "utf-8", "{label};{text}", f"format: csv, delimiter: ;, quote: null, {NAMES}"),
    "header, other encoding": ("a.tsv", "utf-16", "{text}\t{label}", "format: tsv, encoding: utf-16"),
    "inside a zip": ("a.zip", "latin-1", "{label} {text}", f"format: fields, encoding: latin-1, {NAMES}"),
    "long separator": ("a.txt", "gb18030", "{label} ||| {text}", f"format: fields, separator: '|||', encoding: gb18030, {NAMES}"),
}


def pairs(card: Card, split: str) -> list[tuple[str, str]]:
    read = chunks(card, split)
    return [row for chunk in read for row in zip(chunk.columns["text"], chunk.columns["label"], strict=True)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_rows_in_another_form_need_options_alone(variant: str, folder: Path) -> None:
    file, encoding, line, options = VARIANTS[variant]
    wanted = pairs(load(folder, "trec6"), "test")
    lines = [line.format(text=text, label=label) for text, label in wanted]
    content = "\n".join(["text\tlabel", *lines] if "names" not in options else lines).encode(encoding)
    if file.endswith(".zip"):
        with zipfile.ZipFile(folder / file, "w") as opened:
            opened.writestr("in/train.txt", content)
        file += "!in/*.txt"
    else:
        (folder / file).write_bytes(content)
    shutil.copy(CARDS / "trec6.yaml", folder / "card.yaml")
    text = (folder / "card.yaml").read_text()
    before, after = text.split("data:\n")[0], text.split("inputs:")[1]
    (folder / "card.yaml").write_text(f"{before}data: {{train: {file}, {options}}}\ninputs:{after}")
    assert pairs(load_card(folder / "card.yaml"), "train") == wanted
