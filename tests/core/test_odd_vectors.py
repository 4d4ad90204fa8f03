"""Files of vectors with odd names, columns and numbers, through every command that looks into them: each ends in a
result or in words, and nothing is lost without a word."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repcore.cli.main import run

COUNT = 24
ODD_NAMES = ("<script>document.title='owned'</script>", "\"quoted\", 'twice'", "line\u2028paragraph\u2029",
             "\u202etxt.exe", "=1+1", "", " ", "a\nb", "w" * 10_000, "#3", "./x", "\ud7ff\U0001f600")  # fmt: skip
DRAW = np.random.default_rng(0)
NORMAL = DRAW.normal(size=(COUNT, 6)).astype(np.float32)
SPOILT = NORMAL.copy()
SPOILT[0], SPOILT[1, 2], SPOILT[2], SPOILT[3, 0] = np.nan, np.inf, 0.0, -np.inf
VECTORS: dict[str, np.ndarray] = {
    "float16": NORMAL.astype(np.float16),
    "float64": NORMAL.astype(np.float64),
    "constant": np.ones((COUNT, 6), np.float32),
    "two places": np.where(np.arange(COUNT)[:, None] % 2, 1.0, -1.0) * np.ones((1, 6)),
    "huge": NORMAL * np.float32(1e37),
    "tiny": NORMAL * np.float32(1e-37),
    "one number": NORMAL[:, :1],
    "not finite": SPOILT,
}
COLUMNS: dict[str, Any] = {
    "all missing": pa.array([None] * COUNT, pa.float64()),
    "not a number": [float("nan")] * COUNT,
    "some infinite": [float("inf"), float("-inf"), *range(COUNT - 2)],
    "all equal": ["same"] * COUNT,
    "equal numbers": [3] * COUNT,
    "dates": [date(2020, 1, 1 + row) for row in range(COUNT)],
    "times": pa.array([datetime(2020, 1, 1, row, tzinfo=UTC) for row in range(COUNT)]),
    "booleans": [row % 2 == 0 for row in range(COUNT)],
    "decimals": [Decimal("1.10")] * COUNT,
    "lists": [[row, row] for row in range(COUNT)],
    "bytes": [b"\xff\x00"] * COUNT,
    "nested": [{"a": row} for row in range(COUNT)],
    "large": [2**62 + row for row in range(COUNT)],
    "split": ["train", None] * (COUNT // 2),
    **{name: list(range(COUNT)) for name in ODD_NAMES},
}


def kept(path: Path, vectors: np.ndarray, ids: list[str] | None = None, **columns: Any) -> Path:
    kind = {"float16": pa.float16(), "float64": pa.float64()}.get(str(vectors.dtype), pa.float32())
    flat = pa.array(vectors.reshape(-1), kind)
    names = ids or [f"i{row}" for row in range(len(vectors))]
    table = {"id": names, "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]), **columns}
    pq.write_table(pa.table(table), path)
    return path


def done(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    code = run([str(one) for one in words])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def every(capsys: pytest.CaptureFixture[str], file: Path, folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The record of a page, and the findings of an audit; an index is built, searched, and drawn."""
    done(capsys, "index", file, "-o", folder / "x")
    page = json.loads(done(capsys, "explore", file, "-o", folder / "map.html", "--json"))
    done(capsys, "explore", file, "--export", folder / "walk", "--layout", "tsne")
    done(capsys, "audit", file, "-o", folder / "f.csv", "--page", folder / "f.html")
    with (folder / "f.csv").open(newline="", encoding="utf-8") as lines:
        return page, list(csv.DictReader(lines))


@pytest.mark.parametrize("name", list(VECTORS))
def test_vectors_of_any_kind_of_number(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = 4 if name == "not finite" else 0
    page, found = every(capsys, kept(tmp_path / "v.parquet", VECTORS[name]), tmp_path)
    assert (page["points"], page["left_out"]) == (COUNT - lost, lost)
    hits = json.loads(done(capsys, "search", tmp_path / "x", "i9", "-k", 3, "--json"))["hits"]
    assert len(hits) == 3
    assert all(-1.001 <= one["similarity"] <= 1.001 for one in hits)
    assert all(np.isfinite(float(one["score"])) for one in found)


def test_columns_and_ids_of_any_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [*ODD_NAMES, *(f"i{row}" for row in range(len(ODD_NAMES), COUNT))]
    file = kept(tmp_path / "v.parquet", NORMAL, ids, **COLUMNS)
    page, _ = every(capsys, file, tmp_path)
    assert page["points"] == COUNT
    for query in ODD_NAMES:
        found = json.loads(done(capsys, "search", tmp_path / "x", query, "-k", 30, "--json"))
        assert {one["id"] for one in found["hits"]} == set(ids) - {query}
    done(capsys, "search", tmp_path / "x", "i20", "-o", tmp_path / "hits.html")
    done(capsys, "search", tmp_path / "x", "i20", "-k", 30, "-o", tmp_path / "hits.csv")
    with (tmp_path / "hits.csv").open(newline="", encoding="utf-8") as lines:
        assert {one["id"] for one in csv.DictReader(lines)} == set(ids) - {"i20"}
    dated = json.loads(done(capsys, "search", tmp_path / "x", "i20", "--where", "dates=2020-01-03", "--json"))
    assert [one["id"] for one in dated["hits"]] == [ids[2]]


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_rows(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = kept(tmp_path / "v.parquet", NORMAL[:count])
    done(capsys, "index", file, "-o", tmp_path / "x")
    hits = json.loads(done(capsys, "search", tmp_path / "x", "i0", "--json"))["hits"]
    assert len(hits) == count - 1
    for words in (["explore", file, "-o", tmp_path / "m.html"], ["audit", file, "-o", tmp_path / "f.csv"]):
        assert run([str(one) for one in words]) == 2
        assert f"{count} " in capsys.readouterr().err


def test_doubled_ids_and_many_categories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = np.random.default_rng(1).normal(size=(10_000, 6)).astype(np.float32)
    names = [f"i{row // 2}" for row in range(10_000)]
    file = kept(tmp_path / "v.parquet", many, names, category=[f"c{row}" for row in range(10_000)])
    done(capsys, "index", file, "-o", tmp_path / "x")
    hits = json.loads(done(capsys, "search", tmp_path / "x", "i7", "--where", "category=c15", "--json"))["hits"]
    assert [one["id"] for one in hits] == ["i7"], "the other row of that name"
    page = json.loads(done(capsys, "explore", file, "-o", tmp_path / "m.html", "--layout", "pca", "--json"))
    assert page["points"] == 10_000
