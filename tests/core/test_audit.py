"""Audits: planted copies, leaks, outliers, wrong labels and thin parts are found; decisions come back; the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from repcore import registry
from repcore.cli.main import run
from repcore.errors import ConfigError, DataError
from repcore.evaluation.copied_rows import with_copies
from repcore.evaluation.probing import read_rows
from repcore.explore.audit import COLUMNS, Audit, audit, with_decisions
from repcore.explore.hits import csv_text
from repcore.explore.label_errors import class_thresholds, doubtful_classes, doubtful_values
from repcore.explore.oddities import centred, near_copies, neighbours, thin_clusters
from repcore.explore.rows import Gathered, Origin, label_columns, unit
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from tests.toys.toy_run import make_run

ROWS = 200


class Planted:
    """Two classes with declared parts; rows 0 and 1 hold the same."""

    targets = (TargetSpec("kind", "class", names=("low", "high")),)
    splits = {"train": list(range(100)), "test": list(range(100, ROWS))}  # noqa: RUF012
    fingerprint = "planted"

    def __init__(self, kind: np.ndarray) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> Sample:
        return Sample(f"r{index}", max(index, 1), {"kind": self.kind[index]})


def planted() -> tuple[Gathered, set[str]]:
    """Rows with faults, and the ids of those whose label is flipped."""
    draw = np.random.default_rng(0)
    kind = np.arange(ROWS) % 2
    vectors = draw.normal(size=(ROWS, 6)) + 20.0
    vectors[:, 0] += 8.0 * kind
    vectors[1] = vectors[0]
    vectors[150] = vectors[20] + 1e-3  # a near copy across parts
    vectors[40] += 60.0 * draw.normal(size=6)
    flipped = [7, 60, 130]
    kind = kind.copy()
    kind[flipped] = 1 - kind[flipped]
    labelled = with_copies(read_rows(Planted(kind)))  # type: ignore[arg-type]
    origin = Origin(encoder="pairs/set-net")
    columns = label_columns(labelled)
    rows = Gathered(labelled.ids, vectors.astype(np.float32), [""] * ROWS, columns, origin, labelled, np.arange(ROWS))
    return rows, {f"r{row}" for row in flipped}


def test_planted_faults_are_found_and_told_by_kind() -> None:
    rows, flipped = planted()
    found = audit(registry.default(), rows, Planted.targets[0])
    copy, leak = found.of("copy")[0], found.of("leak")[0]
    assert (copy.id, copy.partner_id, copy.detail) == ("r0", "r1", "the same content")
    assert len(found.of("copy")) + len(found.of("leak")) < 6, "six dimensions hold a few close pairs by chance"
    assert (leak.id, leak.partner_id) == ("r20", "r150")
    assert leak.detail.endswith("train / test")
    assert found.of("outlier")[0].id == "r40"
    named = found.of("label")
    assert flipped <= {one.id for one in named[: len(flipped) + 1]}
    assert all(one.label != one.suggestion for one in named)
    assert named[0].detail.startswith("probability")
    assert [one.rank for one in named] == list(range(1, len(named) + 1))
    with pytest.raises(ConfigError, match="outside 0 < near <= 1"):
        audit(registry.default(), rows, near=1.5)
    with pytest.raises(DataError, match="at least 3"):
        audit(registry.default(), rows.some(np.arange(2)))


def test_decisions_are_carried_over(tmp_path: Path) -> None:
    rows, _ = planted()
    first = audit(registry.default(), rows)
    first.of("leak")[0].decision = "drop r150, really"
    table = tmp_path / "findings.csv"
    table.write_text(csv_text(COLUMNS, [one.cells() for one in first.findings]))
    again = audit(registry.default(), rows)
    assert with_decisions(again, table) == (1, [])
    assert again.of("leak")[0].decision == "drop r150, really"
    table.write_text(csv_text(COLUMNS, [("label", 1, "gone", "0.5", "", "probability 0.1", "a", "b", "checked")]))
    taken, gone = with_decisions(again, table)
    assert taken == 0
    assert gone == [("label", "", "gone", "0.5", "", "no longer found; probability 0.1", "a", "b", "checked")]
    table.write_text(csv_text(COLUMNS, gone))
    assert with_decisions(audit(registry.default(), rows), table) == (0, gone), "it stays as it is from audit to audit"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of findings"):
        with_decisions(Audit(), table)


def test_confident_learning_counts_against_the_mean_of_each_class() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.55, 0.45], [0.05, 0.95]])
    given = np.array([0, 0, 1, 1, 1, 0])
    np.testing.assert_allclose(class_thresholds(probabilities, given), [(0.9 + 0.8 + 0.05) / 3, (0.8 + 0.7 + 0.45) / 3])
    rows, likelier, margin = doubtful_classes(probabilities, given)
    assert rows.tolist() == [5], "0.55 is below what members of class 0 get on average"
    assert likelier.tolist() == [1]
    assert margin[0] == pytest.approx(0.9)


def test_numbers_far_from_what_features_say() -> None:
    draw = np.random.default_rng(0)
    predicted = draw.normal(size=300)
    given = predicted + 0.1 * draw.normal(size=300)
    given[17] += 3.0
    rows, away = doubtful_values(predicted, given)
    assert rows[0] == 17
    assert away[0] > 20


def test_neighbours_leave_the_row_itself_out_even_among_copies() -> None:
    vectors = unit(np.repeat(np.eye(3), 3, axis=0))
    places, similar = neighbours(vectors, 2)
    assert all(row not in places[row] for row in range(9))
    np.testing.assert_allclose(similar, 1.0)
    pairs = near_copies(places, similar, 0.25)
    assert {(one, other) for one, other, _ in pairs} == {
        (a + i, a + j) for a in (0, 3, 6) for i, j in ((0, 1), (0, 2), (1, 2))
    }


def test_a_part_that_training_never_saw_is_thin() -> None:
    draw = np.random.default_rng(0)
    centres = np.eye(4)
    kind = np.arange(400) % 4
    vectors = unit(centres[kind] + 0.05 * draw.normal(size=(400, 4)))
    covered = (draw.random(400) < 0.5) & (kind != 2)
    first, seen, count, chance = thin_clusters(vectors, covered)[0]
    assert set(kind[first]) == {2}
    assert (seen, chance < 1e-5) == (0, True)
    assert count <= 100
    assert thin_clusters(vectors, np.ones(400, bool)) == []


def test_the_command_writes_a_table_and_a_page(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run")
    table, page = tmp_path / "f.csv", tmp_path / "f.html"
    asked = ["audit", str(tmp_path / "run"), "pairs/blobs", "--label", "kind", "-o", str(table)]
    assert run([*asked, "--page", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with table.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert tuple(listed[0]) == COLUMNS
    assert len(listed) == sum(told["findings"].values())
    assert "default-src 'none'" in page.read_text()
    assert page.read_text().count('<div class="picture"') >= 1
    assert run(asked) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run([*asked, "--overwrite", "--decisions", str(tmp_path / "no.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    table.write_text(csv_text(COLUMNS, [("label", 1, "gone", "0.5", "", "", "a", "b", "checked")]))
    assert run([*asked, "--overwrite"]) == 0
    assert "1 of findings that are no longer found stay" in " ".join(capsys.readouterr().out.split())
    assert '"checked"' in table.read_text() or "checked" in table.read_text().splitlines()[-1]


def test_neighbours_of_many_rows_come_from_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss", reason="the extra repcore[search] is not installed")
    vectors = centred(np.random.default_rng(0).normal(size=(700, 12)))
    every, near = neighbours(vectors, 5)
    monkeypatch.setattr("repcore.explore.oddities.EXACT_BELOW", 100)
    monkeypatch.setattr("repcore.explore.oddities.exact", None)  # must not be asked
    found, close = neighbours(vectors, 5)
    assert (found != np.arange(700)[:, None]).all(), "no row is its own neighbour"
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, every, strict=True)]) >= 0.98
    np.testing.assert_allclose(np.median(close), np.median(near), atol=1e-3)
