"""Index and search: what is found, by which kinds of query, that an index keeps to its model, what its page shows."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repcore.cli.main import run
from repcore.embedding.writers import ParquetWriter, read_embeddings
from repcore.errors import CheckpointError, ConfigError, DataError
from repcore.explore.filters import conditions, fulfilled
from repcore.explore.index import VectorIndex, append_index, build_index
from repcore.explore.lists import Lists
from repcore.explore.nearest import exact
from repcore.explore.rows import Gathered, Origin, unit
from repcore.interfaces import EmbeddingRows
from tests.toys.toy_run import make_run

HOSTILE = '<script>alert("id")</script>\u2028'


def rows(vectors: np.ndarray, *, identity: str = "m", first: int = 0, **columns: list[object]) -> Gathered:
    ids = [f"i{first + number}" for number in range(len(vectors))]
    reason = ["" if np.isfinite(one).all() else "unreadable" for one in vectors]
    places = np.full(len(ids), -1)
    return Gathered(ids, vectors.astype(np.float32), reason, columns, Origin(identity=identity), None, places)


def planted(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 12))


def test_exact_search_gives_the_neighbours_that_all_similarities_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repcore.explore.nearest.BLOCK", 7)  # several blocks a part
    vectors = unit(planted(60))
    allowed = np.arange(60) % 3 != 0
    found, similar = exact([vectors[:25], vectors[25:]], vectors[:4], 5, allowed)
    every = np.where(allowed, vectors[:4] @ vectors.T, -2)
    np.testing.assert_array_equal(found, np.argsort(-every, axis=1)[:, :5])
    np.testing.assert_allclose(similar, -np.sort(-every, axis=1)[:, :5], atol=1e-6)
    few, _ = exact([vectors], vectors[:1], 5, np.arange(60) < 2)
    assert set(few[0]) == {0, 1}


def test_an_index_is_searched_filtered_and_grows(tmp_path: Path) -> None:
    vectors = planted(40)
    vectors[7], vectors[11] = np.nan, 0.0
    kind: list[object] = [("odd" if row % 2 else "even") for row in range(40)]
    done = build_index(tmp_path / "x", rows(vectors, kind=kind, size=[float(row) for row in range(40)]))
    assert (done.rows, done.left_out, done.reason) == (38, 2, "unreadable")
    index = VectorIndex(tmp_path / "x")
    assert isinstance(index.parts[0], np.memmap)
    place = index.place("i3")
    found, similar = index.nearest(100 * vectors[3], 3)
    assert index.ids[found[0]] == "i3"
    assert similar[0] == pytest.approx(1.0, abs=1e-6)
    found, _ = index.nearest(vectors[3], 3, without=place)
    assert place not in found
    assert len(found) == 3
    found, _ = index.nearest(vectors[3], 50, where=["kind=even", "size>=20"])
    assert {index.ids[row] for row in found} == {f"i{row}" for row in range(20, 40, 2)}

    more = rows(planted(6, seed=1), first=38, kind=["new"] * 6)
    done = append_index(tmp_path / "x", more)
    assert (done.rows, done.known) == (4, 2), "i38 and i39 are there already"
    index = VectorIndex(tmp_path / "x")
    assert len(index) == 42
    assert index.columns["size"][-1] is None
    found, similar = index.nearest(more.vectors[5], 1)
    assert index.ids[found[0]] == "i43"
    with pytest.raises(CheckpointError, match="another model"):
        append_index(tmp_path / "x", rows(planted(2), identity="other", first=90))
    with pytest.raises(DataError, match="--append"):
        build_index(tmp_path / "x", rows(planted(3)))
    build_index(tmp_path / "x", rows(planted(3)), overwrite=True, dtype="float16")
    assert len(VectorIndex(tmp_path / "x")) == 3
    assert len(list((tmp_path / "x").iterdir())) == 3, "files of the index before are gone"


def test_lists_find_what_comparing_every_row_finds(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="the extra repcore[search] is not installed")
    vectors = planted(800)
    done = build_index(tmp_path / "x", rows(vectors[:500]), approximate=True)
    assert done.recall is not None
    assert done.recall >= 0.99
    append_index(tmp_path / "x", rows(vectors[500:600], first=500))
    index = VectorIndex(tmp_path / "x")
    assert index.lists is not None
    assert (len(index.lists), index.lists.fitted) == (600, 500)
    assert len(list((tmp_path / "x").glob("*.faiss"))) == 1
    true, similar = exact(index.parts, unit(vectors[:20]), 10)
    found, near = index.lists.search(index.parts, unit(vectors[:20]), 10)
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, true, strict=True)])
    assert share >= 0.98
    np.testing.assert_allclose(near[:, 0], similar[:, 0], atol=1e-6)
    np.testing.assert_array_equal(index.nearest(vectors[3], 10)[0], found[3])
    allowed = np.arange(600) >= 597
    few, _ = index.lists.search(index.parts, unit(vectors[:1]), 3, allowed)
    assert set(few[0]) == {597, 598, 599}, "few rows are allowed: all lists are looked into"

    append_index(tmp_path / "x", rows(vectors[600:], first=600))
    renewed = append_index(tmp_path / "x", rows(planted(300, 1), first=800))
    grown = VectorIndex(tmp_path / "x")
    assert grown.lists is not None
    assert (renewed.rows, len(grown.lists), grown.lists.fitted) == (300, 1100, 1100), "centres are fitted anew"
    (tmp_path / "x" / grown.facts["lists"]["file"]).write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged"):
        VectorIndex(tmp_path / "x").nearest(vectors[0])


def test_the_number_of_lists_looked_into_follows_the_vectors() -> None:
    pytest.importorskip("faiss", reason="the extra repcore[search] is not installed")
    draw = np.random.default_rng(0)
    clustered = np.repeat(draw.normal(size=(60, 32)), 50, axis=0) + 0.05 * draw.normal(size=(3000, 32))
    structured, shapeless = (Lists.built([unit(one)]) for one in (clustered, draw.normal(size=(3000, 32))))
    assert structured.probes <= structured.count // 8
    assert shapeless.probes >= shapeless.count // 2
    assert min(structured.recall, shapeless.recall) >= 0.98


def test_a_missing_library_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "repcore\[search\]"'):
        Lists.built([unit(planted(4))])


def test_conditions_say_what_is_wrong() -> None:
    columns = {"kind": ["ring", "line", None], "mass": [1.0, 2.5, None]}
    assert fulfilled(conditions(["kind!=ring"]), columns, 3).tolist() == [False, True, False]  # type: ignore[union-attr]
    assert fulfilled(conditions(["mass=2.50"]), columns, 3).tolist() == [False, True, False]  # type: ignore[union-attr]
    assert fulfilled(conditions(["kind="]), columns, 3).tolist() == [False, False, True]  # type: ignore[union-attr]
    assert fulfilled(conditions(["mass!="]), columns, 3).tolist() == [True, True, False]  # type: ignore[union-attr]
    assert fulfilled([], columns, 3) is None
    for text, words in (
        ("kind", "'kind' is no condition"),
        ("knid=ring", "did you mean: kind"),
        ("kind<3", "'ring' is no number"),
        ("mass>7", "none of 3 rows"),
        ("kind<", "'ring' is no number"),
    ):
        with pytest.raises(ConfigError) as told:
            fulfilled(conditions([text]), columns, 3)
        assert words in " ".join(str(told.value).split())


def test_the_commands_index_search_and_draw(
    toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "run")
    place, model = tmp_path / "blobs.index", str(tmp_path / "run")
    assert run(["index", model, "pairs/blobs", "-o", str(place)]) == 0
    assert "60 rows in" in capsys.readouterr().out
    page, cells = tmp_path / "hits.html", tmp_path / "hits.csv"
    assert run(["search", str(place), "blob-4", "-k", "3", "--where", "kind=ring", "-o", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["hits"]) == 3
    assert all(one["kind"] == "ring" and one["id"] != "blob-4" for one in found["hits"])
    text = page.read_text()
    assert text.count('<div class="picture"') == 4, "the query and three hits are drawn"
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert run(["search", str(place), "blob-4", "-o", str(cells)]) == 0
    with cells.open(newline="") as file:
        assert [one["rank"] for one in csv.DictReader(file)] == [str(rank) for rank in range(1, 11)]

    vectors = tmp_path / "v.parquet"
    assert run(["embed", model, "pairs/blobs", "-o", str(vectors)]) == 0
    assert run(["index", str(vectors), "-o", str(tmp_path / "file.index")]) == 0
    capsys.readouterr()
    assert run(["search", str(tmp_path / "file.index"), "blob-5", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)["hits"]
    assert run(["search", str(place), "blob-5", "--json"]) == 0
    assert [one["id"] for one in own] == [one["id"] for one in json.loads(capsys.readouterr().out)["hits"]]
    pytest.importorskip("faiss", reason="the extra repcore[search] is not installed")
    monkeypatch.setattr("repcore.explore.index.EXACT_BELOW", 20)
    assert run(["index", str(vectors), "-o", str(tmp_path / "lists.index")]) == 0
    assert "recall of ten neighbours" in capsys.readouterr().out
    assert run(["search", str(tmp_path / "file.index"), "blob-555"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert run(["index", str(vectors), "-o", str(place), "--append"]) == 0
    assert "0 rows added to" in capsys.readouterr().out
    make_run(tmp_path / "second", "trainer.seed=5")
    assert run(["index", str(tmp_path / "second"), "pairs/blobs", "-o", str(place), "--append"]) == 2
    assert "another model" in capsys.readouterr().err


def test_ids_that_have_changed_or_stand_twice_are_named(tmp_path: Path) -> None:
    vectors = planted(6)
    build_index(tmp_path / "x", rows(vectors), dtype="float16")
    same = append_index(tmp_path / "x", rows(3 * vectors))
    assert (same.rows, same.known, same.changed, same.total) == (0, 6, [], 6), "length and rounding do not count"
    vectors[4] = planted(1, seed=3)[0]
    more = rows(np.concatenate([vectors, planted(2, seed=4)]))
    done = append_index(tmp_path / "x", replace(more, ids=[*more.ids[:6], "new", "new"]))
    assert (done.rows, done.known, done.changed, done.doubled, done.total) == (2, 6, ["i4"], ["new"], 8)


def test_data_that_vectors_were_not_made_of_are_told(
    toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old vectors beside changed data drew other items under the same ids."""
    make_run(tmp_path / "run")
    vectors = tmp_path / "v.parquet"
    assert run(["embed", str(tmp_path / "run"), "pairs/blobs", "-o", str(vectors)]) == 0
    assert run(["index", str(vectors), "pairs/blobs", "-o", str(tmp_path / "a")]) == 0
    assert "is not what the vectors" not in capsys.readouterr().err
    given, header = read_embeddings(vectors)
    writer = ParquetWriter(tmp_path / "old.parquet", {**header, "data": "0" * 64})
    writer.write(given)
    writer.finish()
    assert run(["index", str(tmp_path / "old.parquet"), "pairs/blobs", "-o", str(tmp_path / "b")]) == 0
    assert "pairs/blobs is not what the vectors" in " ".join(capsys.readouterr().err.split())


def test_rows_that_are_not_ok_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row with a vector and a status was indexed without a word."""
    vectors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    status = ["ok", "unknown_symbols", "ok", "ok", "unknown_symbols"]
    writer = ParquetWriter(tmp_path / "v.parquet", {})
    writer.write(EmbeddingRows(list("abcde"), vectors, status, [""] * 5))
    writer.finish()
    assert run(["index", str(tmp_path / "v.parquet"), "-o", str(tmp_path / "i")]) == 0
    said = capsys.readouterr().out
    assert "5 rows in" in said
    assert "3 ok, 2 unknown_symbols" in said
    assert run(["index", str(tmp_path / "v.parquet"), "-o", str(tmp_path / "i"), "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == {"ok": 3, "unknown_symbols": 2}


def test_names_are_text_on_the_page(toys: None, tmp_path: Path) -> None:
    from repcore import registry
    from repcore.explore.hits import hits_of, write_hits
    from repcore.explore.queries import find_query

    given = rows(planted(4), kind=[HOSTILE, "b", None, '"'])
    named = Gathered(
        [HOSTILE, *given.ids[1:]], given.vectors, given.reason, given.columns, given.origin, None, given.places
    )
    build_index(tmp_path / "x", named)
    index = VectorIndex(tmp_path / "x")
    query = find_query(index, HOSTILE, registry=registry.default())
    hits = hits_of(index, *index.nearest(query.vector, 4))
    assert hits[0].id == HOSTILE
    write_hits(tmp_path / "hits.html", index, query, hits, registry.default(), print)
    text = (tmp_path / "hits.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
