"""Where the figures of a run go, and what Python is told of them."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

import repcore
from repcore.errors import ConfigError, PluginError
from repcore.training import loggers

SHORT: dict[str, Any] = {"device": "cpu", "report": False, "trainer": {"log_every": 2}}


class Counter(pl.Callback):
    """A callback as users of Lightning write it."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *words: Any) -> None:
        self.batches += 1


class PrunedError(Exception):
    """As Optuna's TrialPruned."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_loggers_hold_what_the_run_folder_holds(here: Path) -> None:
    counter, told = Counter(), []
    run = repcore.train(
        "pairs/set-net", steps=4, trainer__loggers=["csv", "tensorboard"], callbacks=[counter, told.append], **SHORT
    )
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert told == lines
    assert counter.batches == 4
    with (run.folder / "csv" / "from-step-0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = {int(one["step"]): one["loss"] for one in lines if one["split"] == "train"}
    kept = {int(row["step"]): float(row["train/loss"]) for row in rows if row["train/loss"]}
    assert kept == pytest.approx(losses)
    assert any(row["validation/loss"] for row in rows)
    assert list((run.folder / "tensorboard").glob("events.*"))
    plain = repcore.train("pairs/set-net", steps=1, trainer__loggers=[], name="plain", device="cpu", report=False)
    assert not (plain.folder / "tensorboard").exists()


def test_what_a_callback_raises_ends_the_run(here: Path) -> None:
    def prune(line: dict[str, Any]) -> None:
        raise PrunedError(line["split"])

    before = threading.active_count()
    with pytest.raises(PrunedError):
        repcore.train("pairs/set-net", steps=2, callbacks=[prune], **SHORT)
    assert threading.active_count() == before, "a logger's thread is left"
    with pytest.raises(ConfigError, match="str is no callback"):
        repcore.train("pairs/set-net", steps=2, callbacks=["early"], **SHORT)


def test_mlflow_keeps_a_run_and_goes_on_in_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason='pip install "repcore[mlflow]"')
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def prune(line: dict[str, Any]) -> None:
        if line["step"] == 4:
            raise PrunedError

    settings = {**SHORT, "trainer": {"log_every": 2, "checkpoint_every": 2, "loggers": ["mlflow"]}}
    with pytest.raises(PrunedError):
        repcore.train("pairs/set-net", steps=6, callbacks=[prune], name="one", **settings)
    run = repcore.train("pairs/set-net", resume="runs/one", report=False, device="cpu")
    client = mlflow.MlflowClient(f"sqlite:///{(run.folder / 'mlflow.db').resolve()}")
    (kept,) = client.search_runs([client.get_experiment_by_name("repcore").experiment_id])
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    told = {int(one["step"]): one["loss"] for one in lines if one["split"] == "train"}
    found = {one.step: one.value for one in client.get_metric_history(kept.info.run_id, "train/loss")}
    assert found == pytest.approx(told)
    assert set(found) == {2, 4, 6}
    assert kept.data.params["trainer.log_every"] == "2"
    assert kept.info.status == "FINISHED"


def test_wandb_keeps_a_run_without_a_network(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason='pip install "repcore[wandb]"')
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(here)}.items():
        monkeypatch.setenv(name, value)
    run = repcore.train("pairs/set-net", steps=4, trainer__loggers=["wandb"], **SHORT)
    number = json.loads((run.folder / "loggers.json").read_text())["wandb"]
    assert wandb.run.id == number
    told = [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert {wandb.run.summary["train/loss"], wandb.run.summary["validation/loss"]} == set(told[-2:])
    wandb.finish()
    assert len(list(run.folder.glob(f"wandb/offline-run-*/run-{number}.wandb"))) == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_names_its_command(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda package: None)  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match=rf'pip install "repcore\[{name}\]"'):
        repcore.train("pairs/set-net", steps=2, trainer__loggers=[name], device="cpu")
    assert not list(here.glob("runs/*"))
    with pytest.raises(repcore.RepcoreError, match="comet"):
        repcore.train("pairs/set-net", steps=2, trainer__loggers=["comet"], device="cpu")


def test_a_logger_that_fails_ends_no_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(loggers.Logger):
        name = version = "broken"

        def log_metrics(self, *words: Any, **more: Any) -> None:
            raise ConnectionError("no route to host")

        def log_hyperparams(self, *words: Any, **more: Any) -> None: ...

    monkeypatch.setattr(loggers, "BUILDERS", {"csv": lambda state, ids: Broken()})
    with caplog.at_level("WARNING", logger="repcore"):
        run = repcore.train("pairs/set-net", steps=3, trainer__loggers=["csv"], device="cpu", report=False)
    assert run.steps == 3
    said = [one for one in caplog.messages if "left out" in one]
    assert said == ["logger csv is left out from here on: ConnectionError: no route to host"]


def test_settings_are_told_by_dotted_path() -> None:
    assert loggers.flat({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": "[1, 2]", "d": None}
