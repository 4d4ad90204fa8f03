"""What scikit-learn's own checks say of ``repcore.sklearn.Embedder``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator

import repcore
from repcore.sklearn import Embedder
from tests.toys.toy_run import make_run

if TYPE_CHECKING:
    from sklearn.utils import Tags


@pytest.fixture
def model(tmp_path: Path, toys: None) -> repcore.Model:
    make_run(tmp_path / "run")
    return repcore.load(tmp_path / "run")


class Tabular(Embedder):
    """Says that it reads tables of numbers, so that all checks are due; each row becomes an input, points (f, 2)."""

    def transform(self, X: Any) -> np.ndarray:
        return super().transform([np.stack([row, row], 1).astype(np.float32) for row in np.asarray(X)])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags


EXPECTED = {
    "check_estimator_sparse_tag": "fit looks at no input, so it refuses none",
    "check_transformer_general": "inputs differ in length, so another number of columns is no error",
}


def test_check_estimator_passes_and_runs_the_check_of_clones(model: repcore.Model) -> None:
    with pytest.warns(SkipTestWarning, match="Can't test estimator Embedder"):
        found = check_estimator(Embedder(model))
    assert [(one["check_name"], one["status"]) for one in found] == [("check_estimator_cloneable", "passed")]


def test_every_other_check_passes_where_rows_of_numbers_are_inputs(model: repcore.Model) -> None:
    found = check_estimator(Tabular(model, failed="nan"), expected_failed_checks=EXPECTED, on_fail=None, on_skip=None)
    assert {one["check_name"]: str(one["exception"])[:200] for one in found if one["status"] == "failed"} == {}
    assert {one["check_name"] for one in found if one["status"] == "xfail"} == set(EXPECTED)
    general = [str(one["exception"]) for one in found if one["check_name"] == "check_transformer_general"]
    assert all("does not raise an error when the number of features" in words for words in general), general
    passed = {one["check_name"] for one in found if one["status"] == "passed"}
    assert passed >= {
        "check_dict_unchanged",
        "check_estimators_pickle",
        "check_fit_idempotent",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_no_attributes_set_in_init",
        "check_pipeline_consistency",
        "check_set_params",
        "check_transformers_unfitted",
    }
