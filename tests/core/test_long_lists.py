"""Data may have thousands of labels, classes and columns: a line for people names some of them and counts the rest."""

from __future__ import annotations

import json
import logging

import pytest

from repcore.cli.console import ConsoleReporter, complain, say, show_json, table
from repcore.data.accounting import Accounting
from repcore.errors import LONGEST_LIST, DataError, RepcoreError, shortened
from repcore.report.settings import _text
from repcore.reporting import LogReporter, PrintedReporter

NAMES = [f"class-{one}" for one in range(5000)]
LIST = ", ".join(NAMES)


@pytest.mark.parametrize("around", ["{}", "5,000 classes ({}); to change: --read label_kind=regression", "known: {}."])
def test_a_list_keeps_its_ends_and_their_number(around: str) -> None:
    text = around.format(LIST)
    found = shortened(text)
    assert len(found) <= LONGEST_LIST + 40
    assert found.startswith(text[:100])
    assert found.endswith(text[-60:])
    kept = found.replace(",", " ").split()
    left_out = int(found.split("... ")[1].split(" more")[0].replace(",", ""))
    assert left_out + sum("class-" in one for one in kept) == 5000


@pytest.mark.parametrize("text", ["a, b, c", "x" * 3000, ", ".join(["y" * 600] * 2), "a\n" * 800])
def test_what_is_no_long_list_stays(text: str) -> None:
    assert shortened(text) == text


def test_every_way_to_people_shortens(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    reporter, printed, logged = ConsoleReporter(), PrintedReporter(), LogReporter()
    account = Accounting()
    account.note(f"labels {LIST}")
    account.guess("label 'kind'", LIST, "its values")
    with caplog.at_level(logging.INFO):
        logged.info(LIST)
        logged.warn(LIST)
    for show in (say, complain, reporter.info, reporter.warn, printed.info, printed.warn):
        show(f"known: {LIST}")
    told = capsys.readouterr()
    lines = [*told.out.splitlines(), *told.err.splitlines(), *(one.message for one in caplog.records)]
    lines += [*account.sentences(), *str(DataError(f"no label {LIST}", labels=LIST)).splitlines(), _text(NAMES)]
    assert len(lines) == 6 + 2 + 2 + 2 + 1
    assert all(" more ..." in one and len(one) < LONGEST_LIST + 100 for one in lines)


def test_what_programs_read_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"names": NAMES, "said": LIST})
    assert json.loads(capsys.readouterr().out)["said"] == LIST
    table(("names",), [(LIST,)])
    assert capsys.readouterr().out.splitlines()[1] == LIST
    assert RepcoreError(LIST).summary == LIST


def test_many_guesses_with_figures_of_their_own_are_few_sentences() -> None:
    account = Accounting()
    for one in range(5000):
        account.guess(f"label 'f{one}'", "regression", f"numbers from {one} to {one + 1}", "label_kind=class")
    account.guess("input", "column 'smiles'", "its name")
    found = account.sentences()
    assert len(found) == 8
    assert "label 'f4999' and 4,993 more: regression" in found[6]
    assert len(account.to_json()["guesses"]) == 5001
