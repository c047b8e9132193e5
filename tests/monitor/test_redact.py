"""Secrets out of what is written down."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from trunkline.monitor.redact import HIDDEN, redacted, secret_name


@pytest.mark.parametrize(
    "name",
    ["api_key", "WANDB_API_KEY", "hf_token", "HFToken", "db-password", "clientSecret", "aws_secret_access_key", "private_key"],
)
def test_a_setting_that_holds_a_secret_is_known_by_its_name(name: str) -> None:
    assert secret_name(name)
    assert redacted({"storage": [{name: "anything"}]}) == {"storage": [{name: HIDDEN}]}


@pytest.mark.parametrize(
    "name", ["tokens_per_step", "tokenizer", "pad_token_id", "num_tokens", "keys", "monkey", "secretary", "key"]
)
def test_a_setting_of_training_is_not_taken_for_a_secret(name: str) -> None:
    assert not secret_name(name)


@pytest.mark.parametrize(
    "secret",
    [
        "hf_abcdefghijklmnopqrstuvwx12",
        "ghp_0123456789abcdefghij0123456789abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "0123456789abcdef0123456789abcdef01234567",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
    ],
)
def test_a_secret_is_known_by_its_looks_wherever_it_stands(secret: str) -> None:
    assert secret not in json.dumps(redacted({"notes": f"see {secret}, please", "list": [secret]}))


def test_the_secrets_of_an_address_go_and_the_address_stays() -> None:
    assert redacted("s3://team:hunter22@host/rows?sig=abc&part=2") == f"s3://{HIDDEN}@host/rows?{HIDDEN}&part=2"


def test_what_the_environment_keeps_secret_stays_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEAM_PASSWORD", "plain words here")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path))
    assert redacted({"error": f"no plain words here in {tmp_path}"}) == {"error": f"no {HIDDEN} in {tmp_path}"}


def test_a_commit_and_everything_harmless_stay_as_they_are() -> None:
    config = {
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "fingerprint": "ab" * 32,
        "trunk": {"kind": "transformer", "hidden_size": 192, "norm": True, "source": None},
        "tasks": ["sk-learn-like-long-names-in-words", {"task": "tone", "weight": 0.5}],
    }
    assert redacted(config) == config


def test_the_copy_is_plain_json() -> None:
    copy = redacted({"path": Path("a"), 1: np.int64(2), "loss": math.nan, "rate": np.float32(0.5), "set": {3}, "tuple": (1, 2)})
    assert json.loads(json.dumps(copy, allow_nan=False)) == {
        "path": "a",
        "1": 2,
        "loss": None,
        "rate": 0.5,
        "set": [3],
        "tuple": [1, 2],
    }
