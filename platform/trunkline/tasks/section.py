"""The `data:` section of a card: where the rows are."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from trunkline.document.schema import Findings, Names, Open, Short, Strict

Percent = Annotated[int, Field(ge=0, le=100)]


class Split(Strict):
    """How `data.rows` is dealt into splits: by a stable hash of the text in the columns `by`."""

    by: Names = Field(min_length=1, description="columns whose text decides, such as text")
    validation: Percent = 10
    test: Percent = 10

    @model_validator(mode="after")
    def _train_left(self) -> Split:
        if self.validation + self.test >= 100:
            raise ValueError(f"validation {self.validation} % and test {self.test} % leave no training rows. Lower one.")
        return self


class Gather(Strict):
    """Flat rows become lists: those of the same `by` are one row, in which each of `lists` is a list."""

    by: Names = Field(min_length=1, description="columns whose values the lines of a list share, such as query_id")
    lists: Names = Field(min_length=1, description="columns that become lists, such as [candidate, grade]")


class Data(Open):
    """Where the rows are; further keys are the source's own arguments."""

    format: str = Field(min_length=1, description="a source format, such as csv; see `trunkline parts sources`")
    train: Names | None = None
    validation: Names | None = None
    test: Names | None = None
    rows: Names | None = None
    split: Split | None = None
    gather: Gather | None = None
    columns: dict[str, str] = Field(default_factory=dict, description="column wanted -> its name in the file")
    on_null: Literal["error", "drop"] = "error"
    lists: dict[str, str] = Field(default_factory=dict, description="column wanted -> what stands between the items of its text")
    nulls: list[str] = Field(default_factory=list, description="texts that mean no value, such as '' or NA")
    on_bad: Literal["error", "quarantine"] = Field(
        default="error", description="rows that can not be used: an error, or set aside"
    )
    max_bad: float = Field(default=0.05, ge=0, le=1, description="the share of a split's rows that may be set aside")

    def files(self) -> dict[str, list[str]]:
        """What the card names for each split."""
        named = {"train": self.train, "validation": self.validation, "test": self.test, "rows": self.rows}
        return {split: list(paths) for split, paths in named.items() if paths is not None}


class Teacher(Short, Strict):
    """Whose scores the task learns from beside its labels: a column, or a model that scores the rows before training.

    form: what a column's scores are. task: the model's task, by default the one of this card's name.
    """

    column: str | None = Field(default=None, min_length=1)
    form: Literal["logits", "probabilities"] = "logits"
    model: str | None = Field(default=None, min_length=1, description="a model folder, relative to the card")
    task: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Teacher:
        if (self.column is None) == (self.model is None):
            raise ValueError("a teacher is a column of scores, or the folder of a model: give one of the two.")
        if self.task is not None and self.model is None:
            raise ValueError("task names the task of a model. Give the model too.")
        return self


NOWHERE: Final = Data(format="none")
ROWS_ARE = "where the rows are, such as {format: csv, train: train.csv, validation: validation.csv}"
INPUTS_ARE = "the text column, or two for a pair"


def check_data(findings: Findings) -> None:
    """Notes what a section by itself can not tell: that it is there, and goes with the card's other keys."""
    stated = findings.document.data
    if "rows_of" in stated and "data" in stated:
        findings.add(("rows_of",), "stands beside data. The rows are the other task's: give one of the two.", key=True)
    for key, about in (("data", ROWS_ARE), ("inputs", INPUTS_ARE)):
        if key not in stated and "rows_of" not in stated:
            findings.add((key,), f"is missing: {about}.")
    data = findings.document.get(("data",))
    if not isinstance(data, dict):
        return
    if "rows" in data and "split" not in data:
        findings.add(("data", "rows"), "needs data.split to deal its rows into splits, such as split: {by: text}.")
    for split in ("train", "validation", "test"):
        if split in data and "rows" in data:
            findings.add(("data", split), "stands beside data.rows. Give files per split, or rows with split, not both.")
