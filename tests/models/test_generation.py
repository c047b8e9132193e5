"""The decoder is causal, reads its own row alone, and its searches keep what they promise."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from trunkline.batch import RowIndex
from trunkline.errors import ConfigError
from trunkline.models.decoder import Decoder, State, sinusoids
from trunkline.models.heads.generation import Generation
from trunkline.models.search import Search, largest

WIDTH, OUTPUTS, LIMIT = 8, 7, 5
END = OUTPUTS - 1
LENGTHS = [4, 1, 6, 3]
TARGETS = [[0, 3, END], [END], [5, 1, 2, 4, 0], [2, END]]


def index(lengths: list[int], targets: list[list[int]] | None) -> RowIndex:
    sizes = torch.tensor(lengths)
    row = torch.repeat_interleave(torch.arange(len(lengths)), sizes)
    given = {}
    if targets is not None:
        given["labels"] = torch.tensor([label for target in targets for label in target])
        given["place"] = torch.tensor([place for target in targets for place in range(len(target))])
    return RowIndex(sizes.cumsum(0) - sizes, sizes, row, None, given)


def head(**given: object) -> Generation:
    torch.manual_seed(0)
    made = Generation(WIDTH, OUTPUTS, LIMIT, heads=2, **given)
    with torch.no_grad():
        made.decoder.embeddings.mul_(3.0)  # so that texts differ and do not end at once
    return made.eval()


def states(lengths: list[int] = LENGTHS) -> Tensor:
    return torch.randn(sum(lengths), WIDTH, generator=torch.Generator().manual_seed(5)) * 2


def parts(sizes: list[int]) -> list[slice]:
    ends = list(itertools.accumulate(sizes))
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def furthest_apart_from_alone(made: Generation) -> float:
    hidden, together = states(), made(states(), index(LENGTHS, TARGETS))
    assert together.shape == (sum(map(len, TARGETS)), OUTPUTS)
    places = zip(parts(LENGTHS), parts([len(target) for target in TARGETS]), strict=True)
    differences = []
    for row, (own, targets) in enumerate(places):
        alone = made(hidden[own], index([LENGTHS[row]], [TARGETS[row]]))
        differences.append((together[targets] - alone).abs().max().item())
    return max(differences)


def test_a_row_s_outputs_are_those_it_has_alone() -> None:
    assert furthest_apart_from_alone(head()) < 1e-5


def test_a_memory_without_its_mask_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Decoder._taught

    def unmasked(self: Decoder, state: State, rows: RowIndex) -> Tensor:
        return kept(self, State(state.own, state.memory, torch.ones_like(state.mask)), rows)

    monkeypatch.setattr(Decoder, "_taught", unmasked)
    assert furthest_apart_from_alone(head()) > 1e-2


def reads_ahead(made: Generation) -> bool:
    targets = [list(target) for target in TARGETS]
    before = made(states(), index(LENGTHS, targets))
    targets[2][3] = 3
    after = made(states(), index(LENGTHS, targets))
    changed = (before != after).any(-1)
    first = 3 + 1
    assert changed[first + 4]  # what follows the changed token
    return bool(changed[: first + 4].any())


def test_a_token_is_told_only_those_before_it() -> None:
    assert not reads_ahead(head())


def test_a_decoder_that_is_fed_what_it_should_say_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "roll", lambda self, shifts: self)
    assert reads_ahead(head())


def log_p(made: Generation, hidden: Tensor, text: list[int]) -> float:
    """Of one row's text, by teacher forcing."""
    logits = made(hidden, index([len(hidden)], [text]))
    return float(logits.detach().log_softmax(-1)[torch.arange(len(text)), text].sum())


def written(answer: Tensor) -> list[list[int]]:
    return [[int(number) for number in row[1 : LIMIT + 2].tolist() if number >= 0] for row in answer]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_score_is_the_log_probability_taught_over_the_length_penalty(beams: int) -> None:
    made = head(beams=beams, length_penalty=1.0)
    answer = made.answer(states(), index(LENGTHS, None))
    for row, (own, text) in enumerate(zip(parts(LENGTHS), written(answer), strict=True)):
        assert text[-1] == END and END not in text[:-1] and len(text) <= LIMIT + 1
        expected = log_p(made, states()[own], text) / ((5 + len(text)) / 6)
        assert answer[row, 0].item() == pytest.approx(expected, abs=1e-5)
    assert answer[:, LIMIT + 2 :].abs().max() == 0  # without a reference there are no losses


def test_greedy_takes_the_likeliest_token_each_time() -> None:
    made, hidden = head(), states()
    for own, text in zip(parts(LENGTHS), written(made.answer(hidden, index(LENGTHS, None))), strict=True):
        for place, token in enumerate(text[:LIMIT]):
            logits = made(hidden[own], index([own.stop - own.start], [[*text[:place], 0]]))
            assert int(logits[-1].argmax()) == token


def test_texts_are_those_each_row_has_alone() -> None:
    for beams in (1, 3):
        made, hidden = head(beams=beams), states()
        together = written(made.answer(hidden, index(LENGTHS, None)))
        alone = [written(made.answer(hidden[own], index([own.stop - own.start], None)))[0] for own in parts(LENGTHS)]
        assert together == alone


def test_as_many_beams_as_there_are_texts_find_the_best_of_all() -> None:
    made = head(beams=40, length_penalty=0.0)
    made.search = Search(40, 0.0, 3)
    every = [[*text, END] for size in (0, 1, 2) for text in itertools.product(range(END), repeat=size)]
    answer = made.decoder(states(), index(LENGTHS, None), made.search)
    for row, own in enumerate(parts(LENGTHS)):
        best = max(every, key=lambda text: log_p(made, states()[own], text))
        assert [int(number) for number in answer[row, 1:].tolist() if number >= 0] == best


class Trap(Decoder):
    """A made-up chain of tokens in which the likeliest beginning goes on badly: plain beams of any width fall for others."""

    def __init__(self, table: Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.table, self.end = table, table.shape[1] - 1

    def step(self, state: State, tokens: Tensor) -> Tensor:
        return self.table[tokens]


def chain(*lines: list[float]) -> tuple[Trap, State]:
    return Trap(torch.tensor(lines).log()), State([], [], torch.ones(1, 1, 1, 1, dtype=torch.bool))


def test_a_beam_falls_below_greedy_by_itself_and_never_with_the_greedy_text_beside_it() -> None:
    # The two beams begin with 0 (0.4) and 1 (0.3). 0 goes on with 3 (0.14 together), 1 with 1 or 2 (0.15 each): both beams
    # follow 1, which never ends, and the text that begins with 0 is lost, though 3 ends for sure.
    made, state = chain(
        [0.2, 0.2, 0.25, 0.35, 0.0],
        [0.0, 0.5, 0.5, 0.0, 0.0],
        [0.0, 0.5, 0.5, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0],
        [0.4, 0.3, 0.3, 0.0, 0.0],
    )
    search = Search(2, 0.0, 6)
    greedy, plain, kept = search.greedy(made, state), search.beam(made, state), search(made, state)
    assert greedy[0, 0].exp() == pytest.approx(0.4 * 0.35)
    assert plain[0, 0] < greedy[0, 0]
    assert torch.equal(kept, greedy)


def test_a_beam_finds_what_greedy_misses_and_scores_are_never_below_it() -> None:
    rose = 0
    for seed in range(12):
        torch.manual_seed(seed)
        made = Generation(WIDTH, OUTPUTS, LIMIT, heads=2)
        with torch.no_grad():
            made.decoder.embeddings.mul_(2.0)
        hidden, rows = states() * (1 + seed / 4), index(LENGTHS, None)
        greedy = made.decoder(hidden, rows, Search(1, 0.6, LIMIT + 1))
        wide = made.decoder(hidden, rows, Search(4, 0.6, LIMIT + 1))
        assert (wide[:, 0] >= greedy[:, 0]).all()
        rose += int((wide[:, 0] > greedy[:, 0]).sum())
        assert torch.equal(wide, made.decoder(hidden, rows, Search(4, 0.6, LIMIT + 1)))
    assert rose > 0


def test_of_equal_tokens_the_smaller_id_is_written() -> None:
    made, state = chain([0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.0, 1.0], [0.0, 0.4, 0.4, 0.2])
    assert [int(number) for number in Search(1, 0.0, 3).greedy(made, state)[0, 1:]][:1] == [1]
    values = torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0, 3.0], [9.0, 1.0, 2.0, 2.0, 2.0, 8.0]])
    assert largest(values, 3)[1].tolist() == [[1, 2, 3], [0, 5, 2]]


def test_an_answer_carries_each_target_token_s_loss() -> None:
    made, rows = head(), index(LENGTHS, TARGETS)
    losses = made.answer(states(), rows)[:, LIMIT + 2 :]
    assert losses.shape == (4, LIMIT + 1)
    for row, (own, target) in enumerate(zip(parts(LENGTHS), TARGETS, strict=True)):
        assert losses[row].sum().item() == pytest.approx(-log_p(made, states()[own], target), abs=1e-5)
        assert (losses[row] > 0).sum() == len(target)


def test_places_are_told_apart() -> None:
    made = sinusoids(torch.arange(4), 6)
    assert made[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert made[1, 0].item() == pytest.approx(0.841471) and len(torch.unique(made, dim=0)) == 4
    assert sinusoids(torch.arange(2), 5).shape == (2, 5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heads": 3}, "heads: 3 do not divide the decoder's width 8"),
        ({"layers": 0}, "layers: a whole number from 1 up is needed, found 0"),
        ({"beams": 1.5}, "beams: a whole number from 1 up is needed, found 1.5"),
        ({"length_penalty": -1}, "length_penalty: a number from 0 up is needed, found -1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Generation(WIDTH, OUTPUTS, LIMIT, **given)
