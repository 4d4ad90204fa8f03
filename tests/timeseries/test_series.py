"""From series to batches and back to steps: standardisation, gaps, windows, calendar, views, what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repcore.data.readers import open_data
from repcore.errors import ConfigError, ItemError
from repcore.interfaces import Sample
from repcore.registry import default
from repcore_timeseries.configs.series import SensorsConfig, SeriesPreprocessorConfig
from repcore_timeseries.configs.views import SeriesChange
from repcore_timeseries.datasets.sensors import CLASSES, Sensors
from repcore_timeseries.formats.series import Series
from repcore_timeseries.preprocessors.baselines import raw_values, series_statistics
from repcore_timeseries.preprocessors.series import SeriesPreprocessor, longest_gap
from repcore_timeseries.rendering.series import overlay, render, render_heat
from repcore_timeseries.views.series_views import changed_series

NAN = np.nan
DAY = 86_400 * 10**9


def sample(values: Any, names: tuple[str, ...] | None = None, times: Any = None) -> Sample:
    return Sample("s", Series.of(np.asarray(values, float), names, times))


def fitted(rows: list[Sample], **settings: Any) -> SeriesPreprocessor:
    made = SeriesPreprocessor(SeriesPreprocessorConfig(**{"shortest": 1, **settings}))
    made.fit(rows, range(len(rows)))  # type: ignore[arg-type]
    return made


def test_channels_are_standardised_over_known_values_of_the_training_rows(tmp_path: Path) -> None:
    rows = [sample([[1e7, 5], [1e7 + 2, NAN]]), sample([[1e7 + 4, 5], [NAN, 5]])]
    made = fitted(rows)
    np.testing.assert_allclose(made.mean, [1e7 + 2, 5])
    np.testing.assert_allclose(made.deviation, [np.std([0, 2, 4]), 1.0], rtol=1e-6)
    assert made.facts() == {"channels": 2}
    made.save(tmp_path)
    again = SeriesPreprocessor.load(made.config, tmp_path)
    assert (again.names, again.longest) == (made.names, 2)
    batch = again.collate([again.prepare(one)[0] for one in rows])
    assert batch.inputs["observed"].sum() == 6
    assert "length" not in batch.inputs
    assert batch.inputs["values"][1, 1].tolist() == [0.0, 0.0]


def test_long_series_become_windows_and_their_outputs_are_steps_again() -> None:
    long = sample(np.arange(23.0))
    made = fitted([long], longest=10)
    items = made.prepare(long)
    assert [one.meta["steps"] for one in items] == [10, 10, 3]
    assert sum(one.weight for one in items) == pytest.approx(1)
    outputs = [np.stack([one.values[:, 0], one.values[:, 0] * 2], 1) for one in items]
    back = made.restore(long, items, outputs, "token")
    np.testing.assert_allclose(back[:, 0] * made.deviation[0] + made.mean[0], np.arange(23.0), atol=1e-5)
    sparse = fitted([long], longest=10, shortest=5)  # the last 3 steps are too few for an item
    assert len(sparse.prepare(long)) == 2
    covering = sparse.covering()
    assert [one.meta["first"] for one in covering.prepare(long)] == [0, 10, 13]
    parts = [np.full((10, 1), float(number)) for number in range(3)]
    assert (
        covering.restore(long, covering.prepare(long), parts, "token")[:, 0].tolist() == [0] * 10 + [1] * 10 + [2] * 3
    )
    gaps = sample([[1.0, 2.0], [NAN, NAN], [NAN, 3.0], [4.0, 5.0]])
    known = SeriesPreprocessor(SeriesPreprocessorConfig(shortest=1, standardise=False))
    for count, steps in ((4, [0, 1, 2, 3]), (3, [0, 2, 3]), (2, [0, 3])):
        answers = [np.arange(1.0, count + 1)[:, None]]
        found = known.restore(gaps, known.prepare(gaps), answers, "token")[:, 0]
        assert np.flatnonzero(np.isfinite(found)).tolist() == steps
        assert found[steps].tolist() == answers[0][:, 0].tolist()
    assert made.elements(long, "token")["step"].tolist() == list(range(23))
    timed = sample(np.arange(3.0), None, DAY * np.arange(3))
    assert made.elements(timed, "token")["time"].tolist() == [f"1970-01-0{day}T00:00:00" for day in (1, 2, 3)]
    with pytest.raises(ItemError, match="a series has steps"):
        made.restore(long, items, outputs, "voxel")


@pytest.mark.parametrize(
    ("values", "names", "status"),
    [
        ([[NAN, NAN]] * 5, ("a", "b"), "no_value"),
        ([[1.0, 2.0]], ("a", "b"), "too_short"),
        ([[1.0, 2.0]] * 5, ("b", "a"), "other_channels"),
        ([[1.0]] * 5, ("a",), "other_channels"),
    ],
)
def test_what_cannot_be_used_says_why(values: Any, names: tuple[str, ...], status: str) -> None:
    made = SeriesPreprocessor(SeriesPreprocessorConfig(shortest=2))
    made.fit([sample([[1.0, 2.0], [2.0, 3.0]], ("a", "b"))], [0])  # type: ignore[arg-type]
    with pytest.raises(ItemError) as told:
        made.prepare(sample(values, names))
    assert told.value.status == status


@pytest.mark.parametrize(
    ("trained", "given", "words"),
    [
        (None, ("v",), ""),
        (("v",), None, ""),
        (("v",), ("w",), "'w' where the model knows v in this order: rename it to 'v' if it is that"),
        (("a", "b"), ("b", "a"), "in another order (b, a); the model knows a, b in this order"),
        (("a", "b"), ("a", "b", "c"), "1 channels more, such as 'c': leave them out"),
        (("a", "b"), ("a",), "1 of 2 channels, without 'b'"),
        (("a", "b"), None, "1 of 2 channels, without 'a'"),
        (("channel0", "channel1"), ("a", "b"), "or give an array, whose channels have no names"),
    ],
)
def test_channels_that_differ_are_told_by_what_differs(trained: Any, given: Any, words: str) -> None:
    made = fitted([sample(np.ones((4, len(trained or "1"))), trained)])
    asked = sample(np.ones((4, len(given or "1"))), given)
    if not words:
        assert len(made.prepare(asked)) == 1
        return
    with pytest.raises(ItemError) as told:
        made.prepare(asked)
    assert words in told.value.reason


def test_the_general_name_of_what_names_rows_is_the_series(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": np.repeat(list("ba"), 4), "t": np.tile(np.arange(4), 2), "v": np.arange(8.0)})
    frame.to_csv(tmp_path / "long.csv", index=False)
    np.save(tmp_path / "one.npy", np.zeros((3, 40)))

    def opened(file: str, **options: Any) -> Any:
        return open_data(default(), str(tmp_path / file), domain="timeseries", options=options)[1]

    for options in ({"id_column": "name"}, {"series": "name"}, {"id_column": "name", "series": "name"}):
        reader = opened("long.csv", time="t", **options)
        assert [reader[row].id for row in range(len(reader))] == ["b", "a"], options
    with pytest.raises(ConfigError, match="id_column='name' and series='v' both name the rows"):
        opened("long.csv", time="t", id_column="name", series="v")
    with pytest.raises(ConfigError, match="timeseries/arrays finds the names of its rows itself"):
        opened("one.npy", id_column="name")


def test_the_calendar_is_six_channels_and_needs_times() -> None:
    monday = DAY * 4  # 1970-01-05
    timed = sample(np.arange(3.0), None, monday + np.array([0, DAY // 4, DAY // 2]))
    made = fitted([timed], calendar=True)
    assert made.facts() == {"channels": 7}
    hour = made.prepare(timed)[0].values[:, 1:3]
    np.testing.assert_allclose(hour, [[0, 1], [1, 0], [0, -1]], atol=1e-6)
    np.testing.assert_allclose(made.prepare(timed)[0].values[0, 3:5], [0, 1], atol=1e-6)
    with pytest.raises(ItemError, match="has no time stamps"):
        made.prepare(sample(np.arange(3.0)))


def test_arrays_and_frames_are_series() -> None:
    made = fitted([sample([[1.0, 2.0], [3.0, 5.0]], ("a", "b"))])
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [NAN, 1.0]})
    assert made.inputs_from(frame).names == ("a", "b")
    assert made.inputs_from(np.zeros((4, 2))).names == ("a", "b")
    assert made.inputs_from("text") is None
    with pytest.raises(ItemError, match=r"\(2, 2, 2\) is not one series"):
        made.inputs_from(np.zeros((2, 2, 2)))


def test_baselines_have_one_width_and_no_missing_number() -> None:
    rows = [sample(np.arange(8.0)), sample([1.0, NAN, 3.0, 4.0])]
    made = fitted(rows)
    raw, facts = raw_values(made, rows), series_statistics(made, rows)
    assert raw.shape == (2, 8)
    assert facts.shape == (2, 9)
    assert np.isfinite(raw).all()
    assert np.isfinite(facts).all()
    assert raw[1, 4:].tolist() == [0.0] * 4
    assert facts[0, 2] == pytest.approx((0 - made.mean[0]) / made.deviation[0], rel=1e-5)


def test_views_change_and_keep_what_they_say() -> None:
    made = fitted([sample(np.random.default_rng(0).normal(size=(50, 2)))])
    item = made.prepare(sample(np.random.default_rng(0).normal(size=(50, 2))))[0]
    same = changed_series(
        item, np.random.default_rng(1), change=SeriesChange(noise=0, scale=0, kept_share=(1, 1), hidden_share=0)
    )
    np.testing.assert_allclose(same.values, item.values)
    cut = changed_series(
        item, np.random.default_rng(1), change=SeriesChange(noise=0, scale=0, kept_share=(0.5, 0.5), hidden_share=0.4)
    )
    assert len(cut.values) == cut.meta["steps"] == 25
    hidden = np.isnan(cut.values).all(1)
    assert 2 < hidden.sum() < 20
    assert np.isfinite(item.values).all(), "the item itself stays"


def test_generated_sensors_differ_in_shape_and_lag_and_not_in_level() -> None:
    reader = Sensors(SensorsConfig(items=300, shortest=120, longest=140))
    assert reader[7].inputs.values.tolist() != reader[8].inputs.values.tolist()
    np.testing.assert_array_equal(
        reader[7].inputs.values, Sensors(SensorsConfig(items=9, shortest=120, longest=140))[7].inputs.values
    )
    kinds = np.array([reader[row].targets["kind"] for row in range(300)])
    assert set(kinds) == set(range(len(CLASSES)))
    levels = np.array([np.nanmean(reader[row].inputs.values) for row in range(300)])
    means = [levels[kinds == kind].mean() for kind in range(6)]
    assert np.ptp(means) < levels.std(), "the level tells no class"
    gaps = [longest_gap(np.isnan(reader[row].inputs.values)) for row in range(50)]
    assert max(gaps) > 5


def test_pictures_show_gaps_and_name_what_they_show() -> None:
    given = sample([[1.0], [2.0], [NAN], [4.0], [5.0]], ("<b>",))
    drawn = render(given)
    assert drawn.html.count("<polyline") == 2
    assert "<b>" not in drawn.html
    assert "20.0% missing" in drawn.alt
    assert "fill-opacity" in render_heat(given, np.arange(5.0), None).html
    with pytest.raises(ItemError, match="4 values have no place in a series of 5 steps"):
        render_heat(given, np.arange(4.0), None)
    assert overlay(given, {"true": np.array([0, 0, 1, 1, -1])}).html.count('height="8" fill') == 2
