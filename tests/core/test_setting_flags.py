"""Settings that a sentence names stand behind the flag that takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from repcore.data.accounting import Accounting, Guess
from repcore.data.readers import open_part
from repcore.data.setting_flags import with_flag
from repcore.errors import DataError


def test_sentences_of_guesses_name_the_whole_flag() -> None:
    guess = Guess("label 'y'", "class (0, 1)", "cells are 0 and 1", "label_kind=class|regression")
    assert str(guess).endswith("to change: --read label_kind=class|regression (with train: dataset.label_kind=...)")
    account = Accounting()
    for number in range(9):  # many alike are one sentence
        account.guess(f"label 'b{number}'", "class", "cells are 0 and 1", "unit=TEXT, qualifiers=ignore")
    said = [one for one in account.sentences() if "and 6 more" in one]
    assert "to change: --read unit=TEXT, --read qualifiers=ignore (with train: dataset.unit=...)" in said[0]


@pytest.mark.parametrize(
    "text",
    [
        "--read times_unit=samples", "dataset.columns=[1,2]", "--split random", "", "--id-column NAME",
        "trainer.steps=... with --init-from goes on", "preprocessor.nonfinite=drop leaves them out",
    ],
)  # fmt: skip
def test_what_has_a_flag_stays(text: str) -> None:
    assert with_flag(text) == text


def test_only_settings_of_the_reader_count() -> None:
    assert with_flag("y=3 in row 4; axes=steps-channels", ("axes",)) == (
        "y=3 in row 4; --read axes=steps-channels (with train: dataset.axes=...)"
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    path: str = ""
    axes: str = ""


class Entry:
    """A reader that refuses its data."""

    def load(self) -> Any:
        def refusing(config: Config) -> None:
            raise DataError("three axes", hint="axes=steps-channels")

        return refusing


class Part:
    entry, config, name = Entry(), Config(), "x/arrays"


def test_hints_of_readers_name_the_whole_flag() -> None:
    with pytest.raises(DataError, match=r"try: +--read axes=steps-channels .with train: dataset.axes="):
        open_part(Part())  # type: ignore[arg-type]
