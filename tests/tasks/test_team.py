"""A team's catalog: what several machines publish at once is all there."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trunkline.cli.app import main
from trunkline.errors import ConfigError, IntegrityError, UsageError
from trunkline.tasks.team import TeamCatalog

CARD = """\
name: tone
summary: {summary}
data: {{format: csv, train: /mnt/data/train.csv, validation: /mnt/data/validation.csv}}
inputs: [text]
target: label
head: {{kind: classification, labels: [a, b]}}
"""


def card(folder: Path, summary: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.yaml").write_text(CARD.format(summary=summary))
    return folder / "card.yaml"


@pytest.fixture(params=["path", "uri"])
def team(request, tmp_path):
    place = tmp_path / "team cards"
    place.mkdir()
    return TeamCatalog(str(place) if request.param == "path" else place.as_uri())


def test_a_card_is_published_followed_and_fetched_with_who_and_when(team, tmp_path):
    first, new = team.publish(card(tmp_path / "a", "one"), "ann")
    assert new and team.names() == ["tone"]
    assert team.publish(card(tmp_path / "a", "one"), "bob") == (first, False)
    second, _ = team.publish(card(tmp_path / "a", "two"), "bob")
    assert [(entry.who, entry.after) for entry in team.history("tone")] == [("ann", ()), ("bob", (first.version,))]
    catalog = tmp_path / "tasks"
    assert team.fetch("tone", catalog).version == second.version
    assert "summary: two" in (catalog / "tone" / "card.yaml").read_text()
    assert team.fetch("tone", catalog, first.version).version == first.version  # back, for it was published
    assert "summary: one" in (catalog / "tone" / "card.yaml").read_text()


def test_what_is_published_at_once_is_all_kept_and_nobody_chooses_in_silence(team, tmp_path):
    team.publish(card(tmp_path / "base", "base"), "ann")
    heads, found = team.newest, team.newest("tone")
    team.newest = lambda name: found  # all eight read before any of them writes
    sources = [card(tmp_path / f"m{number}", f"of machine {number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: team.publish(pair[1], f"m{pair[0]}"), enumerate(sources)))
    team.newest = heads
    assert sorted(entry.who for entry in team.history("tone")) == ["ann", *(f"m{number}" for number in range(8))]
    assert len(team.newest("tone")) == 8
    with pytest.raises(UsageError, match=r"8 versions were published at once.*Name one by --version"):
        team.fetch("tone", tmp_path / "tasks")
    merged, _ = team.publish(card(tmp_path / "merged", "all of them"), "ann")
    assert len(merged.after) == 8 and team.newest("tone") == [merged]


def test_a_card_of_ones_own_is_not_overwritten(team, tmp_path):
    team.publish(card(tmp_path / "a", "one"), "ann")
    card(tmp_path / "tasks" / "tone", "my own")
    with pytest.raises(ConfigError, match="another card than any that was published"):
        team.fetch("tone", tmp_path / "tasks")
    assert "my own" in (tmp_path / "tasks" / "tone" / "card.yaml").read_text()


def test_a_card_that_was_changed_in_the_store_is_refused(team, tmp_path):
    entry, _ = team.publish(card(tmp_path / "a", "one"), "ann")
    (stored,) = tmp_path.glob(f"team cards/tone/cards/{entry.version}/card.yaml")
    stored.write_text(stored.read_text().replace("one", "0ne"))
    with pytest.raises(IntegrityError, match="its hash differs"):
        team.fetch("tone", tmp_path / "tasks")
    assert not (tmp_path / "tasks").exists()


def test_data_that_other_machines_do_not_see_and_unknown_names_are_refused(team, tmp_path):
    source = card(tmp_path / "a", "one")
    source.write_text(source.read_text().replace("/mnt/data/train.csv", "train.csv"))
    with pytest.raises(ConfigError, match=r"names data beside itself, 'train\.csv'"):
        team.publish(source, "ann")
    team.publish(card(tmp_path / "b", "one"), "ann")
    with pytest.raises(UsageError, match=r"no task 'tine'\. Did you mean 'tone'"):
        team.history("tine")
    with pytest.raises(UsageError, match="is not a task name"):
        team.history("../tone")
    with pytest.raises(ConfigError, match="is no address"):
        TeamCatalog("nowhere://x")


def test_the_commands_publish_fetch_and_tell(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("USER", "ann")
    (tmp_path / "tasks").mkdir()
    monkeypatch.chdir(tmp_path)
    source, team = str(card(tmp_path / "a", "one")), str(tmp_path / "team")
    assert main(["task", "publish", source, "--to", team, "--json"]) == 0
    published = json.loads(capsys.readouterr().out)
    assert published["new"] and published["who"].startswith("ann@")
    assert main(["task", "fetch", "tone", "--from", team]) == 0
    assert main(["task", "history", "tone", "--from", team]) == 0
    assert published["version"] in capsys.readouterr().out
