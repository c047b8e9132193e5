"""A team's catalog: what several machines publish at once is all there."""

from __future__ import annotations

import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs

from trunkline.cli.app import main
from trunkline.errors import ConfigError, EnvironmentProblem, IntegrityError, UsageError
from trunkline.tasks.team import TRIES, TeamCatalog

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


@pytest.fixture(scope="module")
def s3():
    """Address and query of a server on loopback that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    server.stop()


@pytest.fixture(params=["path", "uri", "s3"])
def team(request, tmp_path, monkeypatch):
    if request.param == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        query = request.getfixturevalue("s3")
        bucket = f"team-{request.node.name.split('[')[0][:40].replace('_', '-').strip('-')}"
        fs.FileSystem.from_uri(f"s3://{bucket}{query}")[0].create_dir(bucket)
        return TeamCatalog(f"s3://{bucket}/our cards{query}".replace(" ", "%20"))
    place = tmp_path / "team cards"
    place.mkdir()
    return TeamCatalog(str(place) if request.param == "path" else place.as_uri())


class Flaky(fs.FSSpecHandler):
    """A folder of which every `every`-th thing that is asked fails. every 1: it is gone."""

    def __init__(self, every: int) -> None:
        super().__init__(LocalFileSystem())
        self.every, self.asked = every, 0

    def _called(self) -> None:
        self.asked += 1
        if self.asked % self.every == 0:
            raise OSError(errno.EIO, "the store does not answer")

    def get_file_info_selector(self, selector):
        self._called()
        return super().get_file_info_selector(selector)

    def open_input_stream(self, path):
        self._called()
        return super().open_input_stream(path)

    def open_output_stream(self, path, metadata):
        self._called()
        return super().open_output_stream(path, metadata)

    def create_dir(self, path, recursive):
        self._called()
        super().create_dir(path, recursive)

    def move(self, source, target):
        self._called()
        super().move(source, target)


def flaky(place: Path, every: int) -> TeamCatalog:
    catalog = TeamCatalog(str(place))
    catalog._files = fs.PyFileSystem(Flaky(every))
    return catalog


def test_a_store_that_fails_now_and_then_is_asked_again_and_has_everything_once(tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.tasks.team.WAIT_S", 0)
    team = flaky(tmp_path / "team", every=3)
    versions = [team.publish(card(tmp_path / "a", said), "ann")[0].version for said in ("one", "two", "three")]
    assert team._files.handler.asked > 20
    sound = TeamCatalog(str(tmp_path / "team"))
    assert [entry.version for entry in sound.history("tone")] == versions
    assert [entry.version for entry in sound.newest("tone")] == versions[-1:]
    assert team.fetch("tone", tmp_path / "tasks").version == versions[-1]


def test_a_store_that_is_gone_is_a_sentence_after_a_few_tries_and_nothing_is_published(tmp_path, monkeypatch):
    monkeypatch.setattr("trunkline.tasks.team.WAIT_S", 0)
    team = flaky(tmp_path / "team", every=1)
    with pytest.raises(EnvironmentProblem, match=r"can not be reached: .*does not answer"):
        team.publish(card(tmp_path / "a", "one"), "ann")
    assert team._files.handler.asked == TRIES and not (tmp_path / "team").exists()


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
    stored = f"{team._root}/tone/cards/{entry.version}/card.yaml"
    with team._files.open_input_stream(stored) as stream:
        text = stream.read()
    with team._files.open_output_stream(stored) as stream:
        stream.write(text.replace(b"one", b"0ne"))
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
