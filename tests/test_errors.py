"""Errors a user can cause: what they say and what they cost."""

from __future__ import annotations

import pickle

import pytest

from trunkline import errors
from trunkline.errors import ConfigError, DataError, MissingExtra, Problems, TrunklineError, UnknownPart, nearest


def family(cls=TrunklineError):
    return [cls, *(member for child in cls.__subclasses__() for member in family(child))]


def test_the_exit_codes_are_the_documented_ones():
    codes = {cls.__name__: cls.exit_code for cls in family() if cls.__module__ == errors.__name__}
    assert codes["UsageError"] == 2
    assert codes["ConfigError"] == codes["UnknownPart"] == 3
    assert codes["DataError"] == 4
    assert codes["IntegrityError"] == 5
    assert codes["EnvironmentProblem"] == codes["MissingExtra"] == 6
    assert codes["ClusterError"] == 7
    assert codes["Diverged"] == 8


def test_an_error_says_where_before_what():
    assert str(ConfigError("is wrong.", where="f:1:2")) == "f:1:2: is wrong."
    assert str(ConfigError("is wrong.")) == "is wrong."


@pytest.mark.parametrize("cls", [cls for cls in family() if cls.__module__ == errors.__name__ and cls is not MissingExtra])
def test_an_error_survives_the_way_between_processes(cls):
    error = pickle.loads(pickle.dumps(cls("a", where="b")))
    assert type(error) is cls
    assert (error.message, error.where, error.exit_code) == ("a", "b", cls.exit_code)


def test_a_missing_extra_keeps_its_sentence_and_code_between_processes():
    error = MissingExtra("datasets", "hub")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert "pip install 'trunkline[hub]'" in str(again)
    assert again.exit_code == 6


def test_no_problem_raises_nothing():
    Problems().raise_if_any()


def test_one_problem_is_raised_as_it_is():
    problems, error = Problems(), UnknownPart("x")
    problems.add(error)
    with pytest.raises(UnknownPart) as caught:
        problems.raise_if_any()
    assert caught.value is error


@pytest.mark.parametrize(("first", "raised"), [(DataError, DataError), (UnknownPart, ConfigError)])
def test_several_problems_are_raised_together_a_line_each(first, raised):
    problems = Problems()
    problems.add(first("a", where="f:1:1"))
    problems.add(ConfigError("b", where="f:2:1"))
    with pytest.raises(raised) as caught:
        problems.raise_if_any()
    assert str(caught.value) == "f:1:1: a\nf:2:1: b"


def test_the_nearest_name_is_guessed_only_when_it_is_near():
    assert nearest("clasification", ["tagging", "classification"]).startswith("Did you mean 'classification'?")
    assert nearest("zzz", ["tagging", "classification"]) == "Known: classification, tagging."


def test_a_long_list_of_names_is_cut():
    assert nearest("zzz", [f"n{i:03}" for i in range(100)]).endswith("n039 and 60 more.")
