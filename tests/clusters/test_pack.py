"""What of a project is sent: all that is needed, nothing that is secret."""

from __future__ import annotations

import io
import zipfile

import pytest

from trunkline.clusters.pack import digest, pack
from trunkline.errors import ConfigError


@pytest.fixture
def project(tmp_path):
    for name, text in {
        "recipes/a.yaml": "seed: 1\n",
        "tasks/t/card.yaml": "name: t\n",
        "tasks/t/train 名 $(x).csv": "a,b\n",
        "outputs/run/model.bin": "big",
        ".git/config": "[core]",
        ".env": "KEY=1",
        "secrets/id_rsa": "x",
        "sub/.aws/credentials": "x",
        "cert.pem": "x",
        "notes/draft.md": "x",
        ".trunklineignore": "# mine\nnotes\n*.tmp\n",
        "a.tmp": "x",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_ignored_and_secret_files_stay_here(project):
    package = pack(project)
    assert sorted(package.files) == [".trunklineignore", "recipes/a.yaml", "tasks/t/card.yaml", "tasks/t/train 名 $(x).csv"]
    assert set(package.left_out) == {".env", "secrets/id_rsa", "cert.pem"}


def test_an_archive_depends_on_names_and_contents_alone(project):
    first = pack(project).archive()
    (project / "recipes" / "a.yaml").touch()
    assert pack(project).archive() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.read("tasks/t/train 名 $(x).csv") == b"a,b\n"
    (project / "recipes" / "a.yaml").write_text("seed: 2\n")
    assert digest(pack(project).archive()) != digest(first)


def test_a_copy_has_the_same_files(project, tmp_path_factory):
    package, place = pack(project), tmp_path_factory.mktemp("copy")
    package.copy_to(place)
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()) == sorted(package.files)


def test_a_key_in_a_file_is_refused_and_not_repeated(project):
    key = "hf_" + "a1B2c3D4" * 4
    (project / "recipes" / "a.yaml").write_text(f"note: {key}\n")
    with pytest.raises(ConfigError, match="looks like a key") as caught:
        pack(project)
    assert key not in str(caught.value)


def test_a_link_out_of_the_project_is_refused_and_one_within_is_followed(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "file"
    outside.write_text("x")
    (project / "inner").symlink_to(project / "recipes" / "a.yaml")
    assert "inner" in pack(project).files
    (project / "outer").symlink_to(outside)
    with pytest.raises(ConfigError, match="outer: is a link that leads out"):
        pack(project)


def test_too_much_is_refused_with_the_largest(project):
    (project / "tasks" / "big.bin").write_bytes(b"0" * 3000)
    with pytest.raises(ConfigError, match=r"The largest: tasks/big.bin"):
        pack(project, limit=2000)
