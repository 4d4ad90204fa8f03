"""Embedding keeps rows, order and ids, and does not depend on batch size, window, order or worker count."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from repcore import registry
from repcore.config.resolve import resolve_run
from repcore.embedding.inference import InferenceOptions, batches_by_cost, embed_rows, run_windows
from repcore.embedding.model import ListReader
from repcore.embedding.pooling import pool, pool_tokens
from repcore.embedding.writers import NpzWriter, ParquetWriter, read_embeddings
from repcore.errors import ConfigError, DataError, ItemError
from repcore.interfaces import Batch, EmbeddingRows, Features, Item, Sample, Tokens, Window
from repcore.reporting import LogReporter
from repcore.training.assembly import RunParts, assemble


@pytest.fixture
def parts(toys: None) -> RunParts:
    overrides = ["dataset.broken=[3, 17]"]
    return assemble(resolve_run(registry.default(), "pairs/set-net", overrides=overrides), LogReporter())


def embed(parts: RunParts, **options: object) -> EmbeddingRows:
    settings = InferenceOptions(**options)  # type: ignore[arg-type]
    return embed_rows(parts.encoder, parts.preprocessor, parts.reader, settings)


def test_every_row_comes_out_once_and_in_order(parts: RunParts) -> None:
    rows = embed(parts)
    assert list(rows.ids) == [f"blob-{row}" for row in range(60)]
    failed = [row for row, status in enumerate(rows.status) if status != "ok"]
    assert failed == [3, 17]
    assert np.isnan(rows.vectors[failed]).all()
    assert np.isfinite(np.delete(rows.vectors, failed, 0)).all()
    assert rows.reason[3] == "blob 3 is broken on purpose"


@pytest.mark.parametrize(
    "options", [{"batch_size": 1}, {"batch_size": 7}, {"window": 9}, {"cost_budget": 25}, {"workers": 2, "window": 16}]
)
def test_batching_changes_nothing(parts: RunParts, options: dict[str, object]) -> None:
    np.testing.assert_allclose(embed(parts, **options).vectors, embed(parts).vectors, atol=1e-6)  # float32 sums


def test_a_layer_that_does_not_exist_is_said(parts: RunParts) -> None:
    assert np.isfinite(np.delete(embed(parts, layer=1).vectors, [3, 17], 0)).all()
    with pytest.raises(ConfigError, match="no layer 9"):
        embed(parts, layer=9)


def test_mode_is_restored(parts: RunParts) -> None:
    parts.encoder.train()
    list(run_windows(parts.encoder, parts.preprocessor, parts.reader, InferenceOptions()))
    assert parts.encoder.training


def test_normalised_vectors_have_unit_length(parts: RunParts) -> None:
    vectors = embed(parts, normalise=True).vectors
    lengths = np.linalg.norm(vectors[np.isfinite(vectors).all(1)], axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)


def test_budget_bounds_the_padded_cost() -> None:
    costs = [5, 90, 3, 40, 41, 7, 7, 2]
    groups = list(batches_by_cost(costs, batch_size=3, budget=90))
    assert sorted(i for group in groups for i in group) == list(range(len(costs)))
    assert all(len(group) <= 3 for group in groups)
    assert all(len(group) == 1 or len(group) * max(costs[i] for i in group) <= 90 for group in groups)


def test_pooling_of_dense_and_ragged_tokens_agrees_with_a_loop() -> None:
    torch.manual_seed(0)
    values, valid = torch.randn(4, 6, 3), torch.rand(4, 6) < 0.6
    valid[:, 0] = True
    owner = torch.arange(4)[:, None].expand(4, 6)[valid]
    ragged = Tokens(values[valid], owner=owner)
    for name in ("mean", "max", "first"):
        loop = torch.stack([by_hand(v[m], name) for v, m in zip(values, valid, strict=True)])
        torch.testing.assert_close(pool_tokens(Tokens(values, valid=valid), name, 4), loop)
        torch.testing.assert_close(pool_tokens(ragged, name, 4), loop)


def by_hand(tokens: torch.Tensor, name: str) -> torch.Tensor:
    return {"mean": tokens.mean(0), "max": tokens.max(0).values, "first": tokens[0]}[name]


def test_items_without_tokens_pool_to_zero() -> None:
    ragged = Tokens(torch.ones(2, 3), owner=torch.tensor([1, 1]))
    for name in ("mean", "max", "first"):
        assert pool_tokens(ragged, name, 3)[[0, 2]].eq(0).all()


def test_unknown_pooling_names_the_known_ones() -> None:
    features = Features(torch.zeros(1, 2), {"point": Tokens(torch.zeros(1, 1, 2))})
    with pytest.raises(ConfigError, match="--pool 'maen' is unknown\n  did you mean: mean"):
        pool(torch.nn.Identity(), features, "maen", None, ("mean",))
    with pytest.raises(ConfigError, match="--level 'voxel'"):
        pool(torch.nn.Identity(), features, None, "voxel", ("mean",))


def rows_of(start: int, stop: int) -> EmbeddingRows:
    vectors = np.arange(start, stop, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    vectors[vectors[:, 0] == 4] = np.nan
    status = ["broken" if i == 4 else "ok" for i in range(start, stop)]
    return EmbeddingRows(
        [f"r{i}" for i in range(start, stop)], vectors, status, ["why" if s != "ok" else "" for s in status]
    )


@pytest.mark.parametrize(("writer", "suffix"), [(ParquetWriter, ".parquet"), (NpzWriter, ".npz")])
def test_an_interrupted_writer_goes_on(writer: type[ParquetWriter], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    first = writer(path, {"model": "m"})
    first.write(rows_of(0, 3))
    assert not path.exists()
    second = writer(path, {"model": "m"})
    assert (second.rows_done, second.failed) == (3, 0)
    second.write(rows_of(3, 7))
    assert second.finish() == path
    assert (second.rows_done, second.failed, dict(second.status)) == (7, 1, {"ok": 6, "broken": 1})
    rows, header = read_embeddings(path)
    assert header == {"model": "m"}
    assert list(rows.ids) == [f"r{i}" for i in range(7)]
    assert rows.reason[4] == "why"
    np.testing.assert_array_equal(rows.vectors, rows_of(0, 7).vectors)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_parts_of_another_run_are_refused(tmp_path: Path) -> None:
    ParquetWriter(tmp_path / "v.parquet", {"model": "a"}).write(rows_of(0, 2))
    with pytest.raises(DataError, match="parts of another embedding run"):
        ParquetWriter(tmp_path / "v.parquet", {"model": "b"})


@pytest.mark.parametrize("name", ["a.parquet", "a.npz"])
def test_damaged_embedding_files_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(json.dumps({}).encode())
    with pytest.raises(DataError, match=r"is not an embedding file"):
        read_embeddings(tmp_path / name)


class Strips:
    """Samples of n numbers as windows of one number each."""

    def prepare(self, sample: Sample) -> list[Item]:
        if len(sample.inputs) == 1:
            raise ItemError("broken", "one number only")
        return [
            Item(torch.full((1000,), float(value)), window=Window(place, place + 1.0))
            for place, value in enumerate(sample.inputs)
        ]

    def collate(self, items: Sequence[Item]) -> Batch:
        return Batch(torch.stack([item.values for item in items]), len(items))

    def cost(self, meta: Mapping[str, Any]) -> int:
        return 1


class First(torch.nn.Module):
    dim = 1

    def forward(self, batch: Batch, layers: Sequence[int] = ()) -> Features:
        return Features(batch.inputs[:, :1])


STRIPS = ListReader([[1.0, 2.0], [5.0], [1.0, 3.0, 5.0, 7.0], [4.0] * 9], ids=["a", "b", "c", "d"])


@pytest.mark.parametrize(("writer", "suffix"), [(ParquetWriter, ".parquet"), (NpzWriter, ".npz")])
def test_windows_are_rows_with_start_and_end(writer: type[ParquetWriter], suffix: str, tmp_path: Path) -> None:
    options = InferenceOptions(apart=True, window=1)
    first = writer(tmp_path / f"v{suffix}", {})
    parts = list(run_windows(First(), Strips(), STRIPS, options, rows=range(2)))
    for part in parts:
        first.write(part)
    again = writer(tmp_path / f"v{suffix}", {})
    assert (again.rows_done, again.inputs_done) == (3, 2)
    for part in run_windows(First(), Strips(), STRIPS, options, rows=range(again.inputs_done, 4)):
        again.write(part)
    rows, _ = read_embeddings(again.finish())
    windows = {name: [f"{name}#t={k},{k + 1}" for k in range(count)] for name, count in (("a", 2), ("c", 4), ("d", 9))}
    assert list(rows.ids) == [*windows["a"], "b", *windows["c"], *windows["d"]]
    assert list(rows.status) == ["ok"] * 2 + ["broken"] + ["ok"] * 13
    np.testing.assert_array_equal(rows.vectors[:, 0], [1, 2, np.nan, 1, 3, 5, 7, *[4] * 9])
    assert list(rows.columns["source"]) == ["a"] * 2 + ["b"] + ["c"] * 4 + ["d"] * 9
    assert list(rows.columns["start"][3:7]) == [0.0, 1.0, 2.0, 3.0]
    assert list(rows.columns["end"][3:7]) == [1.0, 2.0, 3.0, 4.0]


def test_windows_need_a_domain_with_windows(parts: RunParts) -> None:
    with pytest.raises(ConfigError, match="does not cut its samples into windows"):
        embed(parts, apart=True)
