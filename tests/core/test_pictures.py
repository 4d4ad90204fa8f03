"""What an objective draws of held-out rows: which rows, with which draws, and that a drawing never costs a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repcore.interfaces import Batch, Draws, Picture, Progress
from repcore.report.build import build_report
from repcore.training.assembly import RunParts
from repcore.training.pictures import MOST_BYTES, NAME, ROWS, write_pictures
from repcore.training.run_folder import RunFolder
from tests.toys.toy_run import make_run

LAST = Progress(step=6, total_steps=7)

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def parts(tmp_path: Path) -> RunParts:
    return make_run(tmp_path / "run")


def drawn(parts: RunParts, tmp_path: Path, draw: Callable[[Batch, Draws], Any]) -> tuple[list[dict[str, str]], str]:
    parts.objective.picture = draw
    problem = write_pictures(parts, RunFolder(tmp_path / "run"), LAST)
    path = tmp_path / "run" / NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else [], problem


def test_held_out_rows_are_drawn_one_by_one_in_eval_mode_and_shown(parts: RunParts, tmp_path: Path) -> None:
    sizes, modes = [], []

    def draw(batch: Batch, draws: Draws) -> Picture:
        sizes.append(batch.size)
        modes.append(parts.objective.training)
        return Picture(f"<b>drawing of {batch.sample_id[0]}</b>", "words")

    parts.objective.train()
    lines, problem = drawn(parts, tmp_path, draw)
    held_out = {parts.reader[int(row)].id for row in parts.validation}
    assert problem == ""
    assert set(sizes) == {1}
    assert set(modes) == {False}
    assert parts.objective.training
    assert len(lines) == min(ROWS, len(held_out))
    assert {line["id"] for line in lines} <= held_out
    page = build_report(tmp_path / "run").read_text(encoding="utf-8")
    assert all(f"<b>drawing of {line['id']}</b>" in page for line in lines)


def test_drawing_twice_gives_the_same_draws_and_one_set_of_lines(parts: RunParts, tmp_path: Path) -> None:
    def draw(batch: Batch, draws: Draws) -> Picture:
        return Picture(repr(dict(draws.items())), "draws")

    assert drawn(parts, tmp_path, draw) == drawn(parts, tmp_path, draw)


def test_draws_are_those_of_the_given_step(parts: RunParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    plain = parts.objective.draw

    def watched(batch: Batch, generator: Any, progress: Progress) -> Draws:
        steps.append(progress)
        return plain(batch, generator, progress)

    monkeypatch.setattr(parts.objective, "draw", watched)
    lines, _ = drawn(parts, tmp_path, lambda batch, draws: Picture("<b>one</b>", "words"))
    assert steps == [LAST] * len(lines)


def test_an_objective_without_pictures_writes_none(parts: RunParts, tmp_path: Path) -> None:
    assert write_pictures(parts, RunFolder(tmp_path / "run"), LAST) == ""
    assert not (tmp_path / "run" / NAME).exists()


def test_a_row_that_cannot_be_drawn_is_said_and_left_out(parts: RunParts, tmp_path: Path) -> None:
    seen: list[str] = []

    def draw(batch: Batch, draws: Draws) -> Picture:
        seen.append(batch.sample_id[0])
        if len(seen) == 1:
            raise ValueError("no ink")
        return Picture("<i>fine</i>", "words")

    lines, problem = drawn(parts, tmp_path, draw)
    assert problem == f"{seen[0]} cannot be drawn: ValueError: no ink"
    assert [line["id"] for line in lines] == seen[1:]


def test_something_that_is_no_picture_is_said(parts: RunParts, tmp_path: Path) -> None:
    lines, problem = drawn(parts, tmp_path, lambda batch, draws: "<b>text</b>")
    assert lines == []
    assert "picture returned str, not a Picture" in problem


def test_pictures_stop_before_the_report_grows_too_large(parts: RunParts, tmp_path: Path) -> None:
    half = "x" * (MOST_BYTES // 2)
    lines, problem = drawn(parts, tmp_path, lambda batch, draws: Picture(half, "words"))
    assert len(lines) == 2
    assert "2 of" in problem
