from __future__ import annotations

import sys

import pytest

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.hub import Hub
from trunkline.errors import ConfigError, MissingExtra


def test_splits_are_those_the_card_names(context: SourceContext) -> None:
    hub = Hub(context, dataset="glue", config="sst2", train=["train", "extra"], validation="validation")
    assert hub.splits() == ("train", "validation") and hub.train == "train+extra"
    with pytest.raises(ConfigError, match="names no split"):
        Hub(context, dataset="glue")


def test_without_the_package_it_names_the_install_line(context: SourceContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trunkline\[hub\]'"):
        list(Hub(context, dataset="glue", train="train").read("train"))
