"""Series of any origin: channels in slots, the encoder, scales of their own, generated kinds, statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import repcore
from repcore.errors import ItemError, ShapeError
from repcore.interfaces import Batch, Sample
from repcore_timeseries.configs.encoders import ChannelwiseConfig
from repcore_timeseries.configs.probes import ForecastConfig
from repcore_timeseries.configs.series import KindsConfig, SeriesPreprocessorConfig
from repcore_timeseries.datasets.kinds import Kinds
from repcore_timeseries.datasets.processes import KINDS, coloured
from repcore_timeseries.encoders.channelwise import LEVEL_WEIGHT, Channelwise
from repcore_timeseries.formats.series import Series
from repcore_timeseries.layers.slots import in_slots, places
from repcore_timeseries.preprocessors.baselines import raw_values, series_statistics
from repcore_timeseries.preprocessors.series import SeriesPreprocessor
from repcore_timeseries.preprocessors.shapes import SIZE, series_shapes, shape_of
from repcore_timeseries.probes.forecast import ForecastProbe

NAN = np.nan
SMALL = ChannelwiseConfig(hidden=8, depth=2, width=6, slots=36, level_slots=16)


def sample(values: Any) -> Sample:
    return Sample("s", Series.of(np.asarray(values, float)))


def any_channels(**settings: Any) -> SeriesPreprocessor:
    made = SeriesPreprocessor(SeriesPreprocessorConfig(channels="any", shortest=3, **settings))
    made.fit([sample(np.arange(5.0))], [0])  # type: ignore[arg-type]
    return made


def batch_of(*rows: Any) -> Batch:
    made = any_channels()
    return made.collate([made.prepare(sample(one))[0] for one in rows])


def encoder() -> Channelwise:
    torch.manual_seed(0)
    return Channelwise(SMALL).eval()


def noise(steps: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, channels))


# ------------------------------------------------------------------------------------------------ slots


def test_channels_that_fit_stand_side_by_side_and_others_are_hashed() -> None:
    values = torch.randn(5, 3, 4)
    side = in_slots(values, 14)
    assert torch.equal(side[:, :12] - values.flatten(1), torch.zeros(5, 12))
    assert not side[:, 12:].any()
    place, sign = places(50, 4, 14)
    assert place[:12].tolist() == list(range(12))
    assert place.max() < 14
    assert set(sign.tolist()) == {1.0, -1.0}
    assert (places(3, 4, 14)[0] == place[:12]).all()  # by the number of the channel alone
    assert np.bincount(place[12:], minlength=14).min() > 5
    first, second = torch.randn(2, 400, 60, 4)
    hashed = (in_slots(first, 64) * in_slots(first + second, 64)).sum(1).mean()
    assert float(hashed) == pytest.approx(float((first * (first + second)).sum((1, 2)).mean()), rel=0.1)


# ---------------------------------------------------------------------------------------------- encoder


def test_a_series_has_the_same_vectors_whatever_stands_beside_it() -> None:
    network, alone = encoder(), noise(20, 2)
    single, several = network(batch_of(alone)), network(batch_of(noise(31, 4, 1), alone, noise(9, 1, 2)))
    torch.testing.assert_close(several.pooled[1], single.pooled[0], atol=1e-5, rtol=1e-4)
    steps = several.tokens["step"]
    torch.testing.assert_close(steps.values[1, :20], single.tokens["step"].values[0], atol=1e-5, rtol=1e-4)
    assert steps.valid is not None
    assert steps.valid.sum(1).tolist() == [31, 20, 9]
    assert not steps.values[1, 20:].any()


def test_shapes_know_no_unit_levels_do_and_channels_keep_their_number() -> None:
    network, plain = encoder(), noise(20, 2)
    found = network(batch_of(plain, 1000 * plain + 7e5, plain[:, ::-1])).pooled
    torch.testing.assert_close(found[0, :36], found[1, :36], atol=1e-3, rtol=1e-3)
    first = plain[:, 0]
    wanted = [first.mean(), first.std(), np.diff(first).std(), *np.quantile(first, [0, 0.25, 0.5, 0.75, 1])]
    np.testing.assert_allclose(found[0, 36:44].detach(), LEVEL_WEIGHT * np.arcsinh(wanted), atol=1e-4)
    wanted = [1000 * one + shift for one, shift in zip(wanted, [7e5, 0, 0, *[7e5] * 5], strict=True)]
    np.testing.assert_allclose(found[1, 36:44].detach(), LEVEL_WEIGHT * np.arcsinh(wanted), atol=1e-3)
    torch.testing.assert_close(found[2, :18], found[0, 18:36])
    assert not torch.allclose(found[2, :36], found[0, :36], atol=1e-2)


@pytest.mark.parametrize("channels", [1, 60])
def test_constant_channels_channels_without_values_and_gaps_have_vectors(channels: int) -> None:
    values = noise(12, channels)
    values[3:6, 0] = NAN
    flat, empty = values.copy(), np.concatenate([values, np.full((12, 1), NAN)], 1)
    flat[:, -1] = 3.0
    network = encoder()
    found = network(batch_of(values, flat, empty, values[:3] if channels > 1 else values[6:9])).pooled
    assert found.isfinite().all()
    torch.testing.assert_close(found[2], found[0])
    assert not torch.allclose(found[1], found[0])
    hidden = values.copy()
    hidden[4] = NAN
    assert not torch.allclose(network(batch_of(hidden)).pooled, network(batch_of(np.nan_to_num(hidden))).pooled)


def test_without_units_levels_are_those_of_the_values_and_other_shapes_are_refused() -> None:
    network, values = encoder(), torch.randn(2, 9, 1) + 5
    found = network(Batch(inputs={"values": values}, size=2))
    torch.testing.assert_close(found.pooled[:, 36], LEVEL_WEIGHT * values.mean((1, 2)).asinh())
    for name in ("mean", "max", "channels"):
        assert network.pool(found, name).shape == (2, network.dim)
    with pytest.raises(ShapeError, match=r"\(2, 9\) are not \(B, T, C\)"):
        network(Batch(inputs={"values": values[..., 0]}, size=2))


# ---------------------------------------------------------------------------------------- any channels


def test_every_channel_of_every_series_has_its_own_scale(tmp_path: Path) -> None:
    made = any_channels()
    rows = [sample([[1e9, 5], [1e9 + 2, NAN], [1e9 + 4, 5]]), sample(np.arange(4.0))]
    items = [made.prepare(one)[0] for one in rows]
    np.testing.assert_allclose(items[0].values[:, 0], [-1.2247449, 0, 1.2247449], rtol=1e-6)
    np.testing.assert_allclose(items[0].values[:, 1], [0, NAN, 0])
    np.testing.assert_allclose(items[0].meta["unit"], [[1e9 + 2, np.std([0, 2, 4])], [5, 1]], rtol=1e-6)
    batch = made.collate(items)
    assert batch.inputs["values"].shape == (2, 4, 2)
    assert batch.inputs["length"].tolist() == [3, 4]
    assert batch.inputs["unit"][1].tolist() == [pytest.approx([1.5, 1.118034]), [0.0, 1.0]]
    assert made.facts() == {}
    made.save(tmp_path)
    assert SeriesPreprocessor.load(made.config, tmp_path).fitted().prepare(rows[0])[0].meta["steps"] == 3
    with pytest.raises(ItemError, match="2 steps have a value, 3 are needed"):
        made.prepare(sample([1.0, 2.0, NAN]))
    with pytest.raises(ValueError, match="channels=any standardises every series"):
        SeriesPreprocessorConfig(channels="any", calendar=True)


def test_baselines_of_any_channels_read_the_values_of_the_data() -> None:
    made, rows = any_channels(), [sample([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]), sample([5.0, NAN, 7.0, 9.0])]
    assert raw_values(made, rows).tolist() == [[1, 10, 2, 20, 3, 30, 0, 0], [5, 0, 0, 0, 7, 0, 9, 0]]
    found = series_statistics(made, rows)
    assert found.shape == (2, 18)
    assert found[:, 0].tolist() == [2.0, 7.0]
    assert found[1, 9:].tolist() == [0.0] * 9
    shapes = series_shapes(made, rows)
    assert shapes.shape == (2, 2 * SIZE)
    assert not shapes[1].any()  # three known values are too few for any statistic


# ------------------------------------------------------------------------------------------------ kinds


def test_generated_series_depend_on_their_number_alone_and_have_what_settings_say() -> None:
    config = KindsConfig(items=200, shortest=9, longest=40, missing_share=1.0)
    reader = Kinds(config)
    rows = [reader[number] for number in range(200)]
    np.testing.assert_array_equal(Kinds(config)[150].inputs.values, rows[150].inputs.values)
    lengths = np.asarray([len(one.inputs) for one in rows])
    assert (lengths.min(), lengths.max()) == (9, 40)
    assert lengths.tolist() == reader.costs.tolist()
    assert {one.targets["kind"] for one in rows} == set(range(len(KINDS)))
    gaps = [np.isnan(one.inputs.values).mean() for one in rows]
    assert min(gaps) > 0
    assert max(gaps) < 0.3
    assert len(reader.splits["test"]) == 40


@pytest.mark.parametrize("name", list(KINDS))
def test_every_kind_is_the_same_part_at_other_times(name: str) -> None:
    part = KINDS[name](64, np.random.default_rng(3))
    time = np.linspace(0, 1, 64)
    once, again = (part(time, np.random.default_rng(seed)) for seed in (1, 2))
    assert once.shape == (64,)
    assert np.isfinite(once).all()
    assert np.std(once) > 0
    assert np.array_equal(once, again) == (name not in ("autoregression", "regimes"))
    assert part(time[:1], np.random.default_rng(1)).shape == (1,)


def test_the_colour_of_noise_is_the_slope_of_its_spectrum() -> None:
    for exponent in (0.0, 1.0, 2.0):
        power = np.mean(
            [np.abs(np.fft.rfft(coloured(256, exponent, np.random.default_rng(seed)))) ** 2 for seed in range(300)], 0
        )
        slope = np.polyfit(np.log(np.arange(1, 128)), np.log(power[1:128]), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.1)


# --------------------------------------------------------------------------------------------- statistics


def test_statistics_know_neither_level_nor_scale_and_hold_what_they_say() -> None:
    values = noise(50, 1)[:, 0].cumsum()
    found = shape_of(values)
    assert found.shape == (SIZE,)
    np.testing.assert_allclose(shape_of(300 * values - 1e4), found, atol=1e-6)
    even = (values - values.mean()) / values.std()
    np.testing.assert_allclose(found[24:33], np.quantile(even, [0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1]))
    lag = [even[:-3] @ even[3:] / 50]  # the third lag, behind 49 numbers about places
    np.testing.assert_allclose(found[51], lag[0])
    assert np.isfinite(shape_of(np.ones(9))).all()
    straight = np.arange(20.0)
    gap = straight.copy()
    gap[5:9] = NAN
    np.testing.assert_allclose(shape_of(gap), shape_of(straight), atol=1e-9)
    assert not shape_of(np.asarray([1.0, NAN, 2.0, 3.0])).any()


# --------------------------------------------------------------------------------------------- as a whole


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> repcore.Model:
    settings = {
        "trainer.steps": 2, "dataset.items": 24, "data.batch_size": 8, "encoder.hidden": 8, "encoder.depth": 2,
        "encoder.width": 8, "encoder.slots": 48, "encoder.level_slots": 32,
    }  # fmt: skip
    place = tmp_path_factory.mktemp("runs")
    return repcore.train("timeseries/any-series", preset="tiny", out=place, report=False, **settings).model


@pytest.mark.parametrize("channels", [1, 60])
def test_one_model_reads_files_of_any_channels(model: repcore.Model, channels: int, tmp_path: Path) -> None:
    steps = 300
    table = np.concatenate([np.arange(steps)[:, None], noise(steps, channels)], 1)
    names = ",".join(["time", *(f"s{number}" for number in range(channels))])
    np.savetxt(tmp_path / "one.csv", table, delimiter=",", header=names, comments="")
    found = model.embed(str(tmp_path / "one.csv"))
    assert found.ok.all()
    assert found.vectors.shape == (1, 80)
    assert np.isfinite(found.vectors).all()


def test_rows_that_cannot_be_read_say_why(model: repcore.Model) -> None:
    rows = [np.arange(3.0), np.arange(2.0), np.full(9, NAN), np.ones((9, 3)), noise(5000, 1)[:, 0]]
    found = model.embed(rows)
    assert found.ok.tolist() == [True, False, False, True, True]
    assert [one for one in found.status if one != "ok"] == ["too_short", "no_value"]


def test_the_forecast_probe_reads_it() -> None:
    turns = np.arange(300)[:, None] / 12 + np.array([0.0, 0.25])
    items = any_channels().prepare(sample(5 + 3 * np.sin(2 * np.pi * turns) + 0.2 * noise(300, 2)))
    probe = ForecastProbe(ForecastConfig(horizons=(3,), context=20, raw_steps=12, day=12))
    figures = probe.score(encoder(), probe.material([items]), 0)
    assert figures["mse-3"] < figures["last-mse-3"]
