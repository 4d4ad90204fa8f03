"""Items of a report: their map, neighbours, colours and pictures have the right values."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from repcore.data.preparation import source_rows
from repcore.errors import ItemError
from repcore.interfaces import Picture, Sample
from repcore.report.held_out import HeldOut
from repcore.report.map import MOST_CLASSES, colourings, layouts
from repcore.report.neighbours import neighbourhood
from repcore.report.pictures import Artist, pack_pictures
from repcore.specs import TargetSpec
from tests.core.report_pages import data_of, page_of
from tests.toys.toy_run import make_run

pytestmark = pytest.mark.usefixtures("toys")

# ------------------------------------------------------------------------------------------------ values


def test_map_holds_every_held_out_row_with_its_own_label(tmp_path: Path) -> None:
    parts = make_run(tmp_path / "run")
    data = data_of(page_of(tmp_path / "run"))["map"]
    samples = [parts.reader[int(row)] for row in parts.validation]
    assert data["ids"] == [sample.id for sample in samples]
    assert all(len(axis) == len(samples) for layout in data["layouts"] for axis in layout["points"])
    kind = next(one for one in data["colourings"] if one["name"] == "kind")
    for value, sample in zip(kind["values"], samples, strict=True):
        truth = sample.targets["kind"]
        assert value is None if np.isnan(truth) else kind["names"][int(value)] == ("line", "ring", "cloud")[truth]


def test_similarities_are_cosines_and_nearest_come_first() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6)) + 1.0
    near = neighbourhood(vectors, [], np.random.default_rng(0))
    assert near is not None
    truth = 1 - pairwise_distances(vectors, metric="cosine")
    for query in near.queries:
        others = np.delete(np.arange(40), query.place)
        best = others[np.argsort(-truth[query.place, others])[:5]]
        assert [one.place for one in query.nearest] == best.tolist()
        values = [truth[query.place, place] for place in best]
        assert [one.similarity for one in query.nearest] == pytest.approx(values)  # float64 rounding
        pairs = [truth[i, j] for i in range(40) for j in range(i)]
        share = np.mean([pair < values[0] - 1e-12 for pair in pairs])
        assert query.nearest[0].closer_than == pytest.approx(share, abs=1 / len(pairs))  # ties by rounding
    assert near.pair_mean == pytest.approx(np.mean([truth[i, j] for i in range(40) for j in range(i)]))


def test_agreement_of_neighbours_against_plain_loops() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0.0, 1.0, 2.0], 8)
    vectors = np.eye(4)[labels.astype(int)] + 0.01 * rng.normal(size=(24, 4))
    numbers = rng.normal(size=24)
    numbers[3] = np.nan
    found = HeldOut(
        ids=[str(i) for i in range(24)],
        vectors=vectors,
        labels=[(TargetSpec("kind", "class", names=("a", "b", "c")), labels), (TargetSpec("y", "regression"), numbers)],
        sizes=np.ones(24),
    )
    near = neighbourhood(vectors, colourings(found), np.random.default_rng(0))
    assert near is not None
    kind, number = near.agreements[:2]
    assert kind.neighbours == 1.0  # three tight groups of eight
    same = [labels[i] == labels[j] for i in range(24) for j in range(i)]
    assert kind.all_pairs == pytest.approx(np.mean(same))
    known = numbers[np.isfinite(numbers)]
    assert number.all_pairs == pytest.approx(np.mean([abs(a - b) for i, a in enumerate(known) for b in known[:i]]))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_items_have_no_neighbours_and_no_map(count: int) -> None:
    vectors = np.ones((count, 4), np.float32)
    assert neighbourhood(vectors, [], np.random.default_rng(0)) is None
    assert layouts(vectors, 0) == []


@pytest.mark.parametrize("vectors", [np.ones((20, 4)), np.zeros((20, 4)), np.random.default_rng(0).normal(size=(5, 1))])
def test_collapsed_or_thin_embeddings_still_have_a_map(vectors: np.ndarray) -> None:
    for layout in layouts(vectors, 0):
        assert layout.points.shape == (len(vectors), 2)
        assert np.isfinite(layout.points).all()


def test_many_classes_are_gathered() -> None:
    values = np.repeat(np.arange(30.0), np.arange(1, 31))
    spec = TargetSpec("c", "class", names=tuple(f"n{i}" for i in range(30)))
    found = HeldOut(ids=["x"] * len(values), vectors=np.ones((len(values), 2)), labels=[(spec, values)])
    colour = colourings(found)[0]
    assert len(colour.names) == MOST_CLASSES
    assert colour.names[-1] == f"other ({30 - MOST_CLASSES + 1} classes)"
    assert colour.text(len(values) - 1) == "n29"
    assert colour.text(0) == colour.names[-1]


def test_multilabel_targets_give_one_colouring_a_task() -> None:
    values = np.array([[0.0, np.nan], [1.0, np.nan], [1.0, np.nan]])
    spec = TargetSpec("tox", "multilabel", names=("liver", "heart"))
    found = HeldOut(ids=["a", "b", "c"], vectors=np.eye(3), labels=[(spec, values)], sizes=np.ones(3))
    colour = colourings(found)[0]
    assert (colour.name, colour.names, colour.values) == ("tox: liver", ["no", "yes"], [0.0, 1.0, 1.0])
    assert len(colourings(found)) == 1  # heart has no labels; sizes and lengths do not vary


class Rows:
    """A reader that only knows ids."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def id_of(self, row: int) -> str:
        return self.ids[row]


def test_rows_of_prepared_data_are_found_again() -> None:
    raw: Any = Rows(["a", "b", "c", "d"])
    by_id: Any = Rows(["b", "d"])
    assert source_rows(by_id, raw, np.array([0, 1])).tolist() == [1, 3]
    by_number: Any = Rows(["0", "2", "3"])
    assert source_rows(by_number, raw, np.array([1, 2])).tolist() == [2, 3]
    named: Any = Rows(["?", "?"])
    named.source_rows = np.array([2, 0])
    assert source_rows(named, raw, np.array([1])).tolist() == [0]
    strange: Any = Rows(["x", "y"])
    with pytest.raises(Exception, match="cannot be matched"):
        source_rows(strange, raw, np.array([0]))


def test_pictures_unpack_to_what_was_drawn_and_keep_the_limit() -> None:
    noise = np.random.default_rng(0)
    drawn = {place: noise.bytes(900).hex() for place in range(20)}

    class Reader(Rows):
        def __getitem__(self, row: int) -> Sample:
            if row == 3:
                raise ItemError("gone", "row 3 is gone")
            return Sample(str(row), row)

    reader: Any = Reader([str(i) for i in range(20)])
    found = HeldOut(ids=reader.ids, rows=np.arange(20), reader=reader, render=lambda s: Picture(drawn[s.inputs], "alt"))
    whole = pack_pictures(Artist(found), range(20))
    lines = [json.loads(line) for line in gzip.decompress(base64.b64decode(whole.text)).decode().splitlines()]
    assert {line["place"]: line["html"] for line in lines} == {p: text for p, text in drawn.items() if p != 3}
    some = pack_pictures(Artist(found), range(20), most_bytes=5_000)
    assert 3 <= some.count <= 6  # about 900 incompressible bytes each
    assert len(base64.b64decode(some.text)) <= 5_100
    none = pack_pictures(Artist(found), range(20), seconds=-1.0)
    assert (none.count, none.text) == (0, "")


def test_inline_pictures_stop_when_the_page_is_full() -> None:
    class Reader(Rows):
        def __getitem__(self, row: int) -> Sample:
            return Sample(str(row), row)

    reader: Any = Reader(["a", "b", "c"])
    found = HeldOut(ids=reader.ids, rows=np.arange(3), reader=reader, render=lambda _: Picture("x" * 40, "alt"))
    artist = Artist(found, inline_bytes=100)
    assert [one is not None for one in artist.inline([0, 1])] == [True, True]
    assert artist.inline([2, 0]) == [None, None]  # one would fit, half a row would mislead
    assert artist.left_out == 2
