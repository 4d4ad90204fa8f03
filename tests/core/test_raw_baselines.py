"""A raw-input baseline that cannot use one sample keeps its features of the others."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from repcore.errors import ItemError
from repcore.evaluation.raw_inputs import RawFeatures, _baseline
from repcore.interfaces import Preprocessor, Sample


def sizes(preprocessor: Any, samples: Iterable[Sample]) -> list[list[float]]:
    rows = []
    for sample in samples:
        if not sample.inputs:
            raise ItemError("empty", "nothing in it")
        rows.append([float(len(sample.inputs)), 1.0])
    return rows


def test_only_the_unusable_row_is_nan() -> None:
    nobody = cast(Preprocessor, None)
    good = [Sample("a", "xx"), Sample("b", "xyz")]
    assert _baseline(sizes, nobody, good).tolist() == [[2.0, 1.0], [3.0, 1.0]]
    found = _baseline(sizes, nobody, [good[0], Sample("c", ""), good[1]])
    assert np.isnan(found[1]).all()
    assert found[[0, 2]].tolist() == [[2.0, 1.0], [3.0, 1.0]]


def letters(preprocessor: Any, samples: Iterable[Sample]) -> list[list[float]]:
    """Counts of the letters that occur: columns depend on the rows."""
    texts = [sample.inputs for sample in samples]
    known = sorted(set("".join(texts)))
    return [[float(text.count(letter)) for letter in known] for text in texts]


def test_columns_that_depend_on_the_rows_mean_the_same_in_every_window() -> None:
    functions = {"letters": letters, "sizes": sizes}
    entry = SimpleNamespace(spec=SimpleNamespace(baselines=functions), load=lambda kind, name: functions[name])
    texts = ["ab", "bbc", None, "cd", "d", "aad"]
    samples = [None if text is None else Sample(str(row), text) for row, text in enumerate(texts)]
    whole = RawFeatures(cast(Any, entry), cast(Any, None))
    whole.add(samples)
    expected = whole.joined()
    assert expected["letters"].shape == (6, 4)
    for size in (1, 2, 3, 5):  # windows of that many rows
        parts = RawFeatures(cast(Any, entry), cast(Any, None))
        for start in range(0, 6, size):
            parts.add(samples[start : start + size])
        found = parts.joined()
        np.testing.assert_array_equal(found["letters"], expected["letters"])
        np.testing.assert_array_equal(found["sizes"], expected["sizes"])
