"""A raw-input baseline that cannot use one sample keeps its features of the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from repcore.errors import ItemError
from repcore.evaluation.probing import _baseline
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
