"""repcore as a library: data frame in, trained model, predictions out, and its place among scikit-learn's parts."""

from __future__ import annotations

import inspect
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch.utils.data import Dataset

import repcore
from repcore.api.given_data import as_overrides
from repcore.config.yaml import parse_override
from repcore.errors import CheckpointError, ConfigError, DataError, RunError
from repcore.interfaces import Sample
from repcore.sklearn import Embedder
from tests.ecosystem.test_startup import launch
from tests.toys.toy_run import make_run

KINDS = ("line", "ring", "cloud")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def points(row: int) -> np.ndarray:
    """A line, a ring or a cloud of points (n, 2)."""
    rng = np.random.default_rng(row)
    t = rng.random(12)
    if row % 3 == 0:
        return np.stack([t, 0.3 * t], 1).astype(np.float32)
    if row % 3 == 1:
        return np.stack([np.cos(6.28 * t), np.sin(6.28 * t)], 1).astype(np.float32)
    return rng.normal(size=(12, 2)).astype(np.float32)


FRAME = pd.DataFrame({"points": [points(row) for row in range(36)], "kind": [KINDS[row % 3] for row in range(36)]})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(here: Path) -> repcore.Model:
    make_run(here / "run", "preprocessor.centre=false")
    return repcore.load(here / "run")


def script(frame: pd.DataFrame) -> pd.DataFrame:
    """What a user writes."""
    run = repcore.train("pairs/set-net", frame[["points"]], trainer={"steps": 6}, data__batch_size=8, device="cpu")
    tuned = repcore.finetune(run, frame, label="kind", trainer={"epochs": 3}, optimiser__lr=0.02, device="cpu")
    assert tuned.steps == 5  # of 16 rows each
    return tuned.predict(frame["points"]).to_pandas()


def test_data_frame_in_trained_model_predictions_out(here: Path) -> None:
    assert len(inspect.getsource(script).splitlines()) <= 15
    found = script(FRAME)
    assert found["status"].tolist() == ["ok"] * 36
    assert set(found["kind"]) <= set(KINDS)
    shares = found[[f"p:{name}" for name in KINDS]].to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1.0, atol=1e-5)
    tuned = repcore.Run(here / "runs" / "latest")
    assert (here / "runs" / "latest" / "finetune.json").is_file()
    np.testing.assert_allclose(tuned.predict(list(FRAME["points"])).outputs, tuned.predict(FRAME).outputs, atol=1e-5)
    assert tuned.model.folder.config["widths"]["levels"] == {"point": 16}
    assert tuned.report.read_text(encoding="utf-8").count("<html") == 1  # drawn when it is asked for


class Rows(Dataset[Any]):
    """Somebody's own data set."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, row: int) -> Sample:
        return Sample(f"mine-{row}", points(row), {"kind": row % 3})


def test_a_data_set_of_ones_own_trains_stops_and_goes_on(here: Path) -> None:
    run = repcore.train("set-net", Rows(), domain="pairs", device="cpu", name="a", report=False, trainer__steps=5)
    assert (run.steps, run.folder.name) == (5, "a")
    config = (run.folder / "config.json").read_text()
    assert '"memory"' in config
    assert '"Rows"' in config
    found = run.embed(Rows())
    assert found.ids[:2] == ["mine-0", "mine-1"]
    options = {"domain": "pairs", "device": "cpu", "report": False, "trainer__steps": 5}
    lazily = repcore.train("set-net", lambda: (points(row) for row in range(24)), **options)
    first, second = run.module.state_dict(), lazily.module.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    with pytest.raises(DataError, match=r"\(Rows, 24 rows\) were given from Python") as told:
        repcore.train("set-net", domain="pairs", resume=run.folder)
    assert "resume=RUN" in str(told.value)
    with pytest.raises(RunError, match="has made all its 5 steps"):
        repcore.train("set-net", Rows(), domain="pairs", resume=run.folder, device="cpu")


def test_settings_have_three_spellings_and_are_checked(here: Path) -> None:
    for given in ({"trainer": {"steps": 3}}, {"trainer__steps": 3}, {"trainer.steps": 3}):
        assert [parse_override(text) for text in as_overrides(given)] == [("trainer.steps", "3")]
    assert as_overrides({"views": None, "encoder__name": "a b"}) == ["views=null", 'encoder.name="a b"']
    with pytest.raises(ConfigError, match="is no setting"):
        as_overrides({"trainer": {"steps": object()}})
    with pytest.raises(ConfigError, match=r"trainer\.stepz"):
        repcore.train("pairs/set-net", trainer__stepz=3)
    with pytest.raises(DataError, match="the int '5' is no data"):
        repcore.train("pairs/set-net", 5)


def test_probe_and_fit(model: repcore.Model, here: Path) -> None:
    tables = repcore.probe(model, FRAME, label="kind", seeds=1)
    assert tables[0].target.names == tuple(sorted(KINDS))
    frame = tables.to_pandas()
    assert {"trained", "random-init", "moments"} <= set(frame["features"])
    assert frame["mean"].between(0, 1.0001).any()
    fitted = repcore.fit("spread", model, FRAME)
    found = fitted.apply(FRAME["points"])
    nothing = fitted.apply([])
    assert (len(nothing), list(nothing.columns)) == (0, list(found.columns))
    assert nothing.outputs.shape == (0, found.outputs.shape[1])
    assert len(found) == 36
    assert np.isfinite(np.asarray(found)).all()
    assert (fitted.save(here / "spread") / "estimator.json").is_file()
    with pytest.raises(ConfigError, match="reads no labels"):
        repcore.fit("spread", model, FRAME, label="kind")
    with pytest.raises(ConfigError, match="model=5 is no Model, Run, path or text"):
        repcore.probe(5, FRAME)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ scikit-learn


def test_an_embedder_in_pipelines_and_searches(model: repcore.Model, here: Path) -> None:
    X, y = list(FRAME["points"]), FRAME["kind"].to_numpy()
    pipeline = make_pipeline(Embedder(here / "run"), LogisticRegression(max_iter=200))
    score = pipeline.fit(X, y).score(X, y)
    search = GridSearchCV(pipeline, {"embedder__pool": ["mean", "max"], "logisticregression__C": [0.1, 1.0]}, cv=2)
    search.fit(X, y)
    assert set(search.best_params_) == {"embedder__pool", "logisticregression__C"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    again = pickle.loads(pickle.dumps(pipeline))
    assert again.score(X, y) == score
    np.testing.assert_array_equal(again[0].transform(X), model.embed(X).vectors)


@pytest.mark.parametrize("column", ["points", ["points"]])
def test_an_embedder_in_a_column_transformer(model: repcore.Model, column: Any) -> None:
    both = ColumnTransformer([("sets", Embedder(model), column), ("size", "passthrough", ["size"])])
    frame = FRAME.assign(size=1.5)
    found = both.fit_transform(frame)
    np.testing.assert_allclose(found[:, :16], model.embed(list(FRAME["points"])).vectors, atol=1e-6)
    assert both.get_feature_names_out()[[0, 15, 16]].tolist() == ["sets__embedder0", "sets__embedder15", "size__size"]
    with sklearn.config_context(transform_output="pandas"):
        assert both.fit_transform(frame).shape == (36, 17)


def test_an_embedder_clones_and_pickles_by_path_and_hash(model: repcore.Model, here: Path) -> None:
    fitted = Embedder(model, pool="max").fit(None)
    twin = clone(fitted)
    assert twin.model is model
    assert twin.pool == "max"
    assert not hasattr(twin, "model_")
    held = pickle.dumps(Embedder(here / "run").fit(None))
    assert len(held) < 3000
    make_run(here / "other", "preprocessor.centre=false", "trainer.seed=1")
    (here / "run" / "model").rename(here / "gone")
    (here / "other" / "model").rename(here / "run" / "model")
    with pytest.raises(CheckpointError, match="is not the one that this Embedder was fitted with"):
        pickle.loads(held)


def test_failed_rows_are_named_or_nan(model: repcore.Model) -> None:
    X = [points(0), np.full((3, 2), np.nan, np.float32)]
    with pytest.raises(DataError, match="1 of 2 rows have no embedding"):
        Embedder(model).fit_transform(X)
    found = Embedder(model, failed="nan").fit_transform(X)
    assert np.isnan(found).all(1).tolist() == [False, True]
    with pytest.raises(ConfigError, match="failed='drop'"):
        Embedder(model, failed="drop").fit(X)  # type: ignore[arg-type]


def test_importing_repcore_is_quick_and_without_torch() -> None:
    program = (
        "import time; start = time.process_time(); import repcore; took = time.process_time() - start; import sys; "
        "assert not {'torch', 'numpy', 'pluggy', 'sklearn'} & set(sys.modules); print(took)"
    )
    launch(program)  # compiles
    took = min(float(launch(program).stdout) for _ in range(3))
    assert took < 0.02 * max(1.0, slowness()), f"{1000 * took:.1f} ms of processor time"


def slowness() -> float:
    """How much slower this machine computes now than an idle one that counts to a million in 40 ms."""
    start = time.process_time()
    for _ in range(1_000_000):
        pass
    return (time.process_time() - start) / 0.04
