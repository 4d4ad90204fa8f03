"""Where the figures of a run go beside ``metrics.jsonl``: Lightning's loggers, named by ``trainer.loggers``.

Loggers are told what ``metrics.jsonl`` is told, named ``train/loss`` and ``validation/loss``, at the step of the run. A
logger that fails (no network, a full disk) is left out from there on and said once: it never ends a run.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger

from repcore.errors import PluginError
from repcore.training.state import RunState

PACKAGES = {"wandb": (("wandb",), "repcore[wandb]"), "mlflow": (("mlflow", "sqlalchemy"), "repcore[mlflow]")}
IDS = "loggers.json"  # of the run folder: under which number a tracker knows the run, so that resuming goes on there
PROJECT = "repcore"


def check_loggers(names: Sequence[str]) -> None:
    """Before a run: are the packages of its loggers there?

    Raises:
        PluginError: names the first that is missing, with its pip command.
    """
    for name in names:
        packages, extra = PACKAGES.get(name, ((), ""))
        for package in packages:
            if importlib.util.find_spec(package) is None:
                raise PluginError(
                    f"trainer.loggers names {name}, but {package} is not installed", hint=f'pip install "{extra}"'
                )


class Trackers:
    """The loggers of a run, or of one that is resumed; TensorBoard's among them.

    Args:
        names: of ``trainer.loggers``.
        tell: functions that are called with each line of ``metrics.jsonl``.
    """

    def __init__(self, names: Sequence[str], tell: Sequence[Callable[[Mapping[str, Any]], Any]] = ()) -> None:
        self.names, self.tell = tuple(dict.fromkeys(names)), tuple(tell)
        self._loggers: dict[str, Logger] = {}

    def start(self, state: RunState) -> None:
        """Open them, with the settings of the run; in the first process only."""
        ids = dict(state.folder.read_json(IDS) or {})
        for name in self.names:
            self._guarded(name, state, lambda name=name: self._open(name, state, ids))  # type: ignore[misc]
        if ids:
            state.folder.write_json(IDS, ids)

    def _open(self, name: str, state: RunState, ids: dict[str, str]) -> None:
        logger = BUILDERS[name](state, ids)
        self._loggers[name] = logger
        if name != "tensorboard":  # its page of settings would show a metric that there is not
            logger.log_hyperparams(flat(state.config))

    def write(self, state: RunState, line: Mapping[str, Any]) -> None:
        """One line of ``metrics.jsonl``."""
        figures = {f"{line['split']}/{name}": value for name, value in line.items() if isinstance(value, float)}
        for name, logger in list(self._loggers.items()):
            self._guarded(name, state, lambda logger=logger: logger.log_metrics(figures, line["step"]))  # type: ignore[misc]
        for function in self.tell:
            function(dict(line))

    def end(self, state: RunState, how: str = "success") -> None:
        """Close them."""
        for name, logger in list(self._loggers.items()):
            self._guarded(name, state, lambda logger=logger: logger.finalize(how))  # type: ignore[misc]
        self._loggers = {}

    def _guarded(self, name: str, state: RunState, action: Callable[[], None]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                action()
        except Exception as error:
            self._loggers.pop(name, None)
            said = str(error).partition("\n")[0][:200]
            state.reporter.warn(f"logger {name} is left out from here on: {type(error).__name__}: {said}")


def _tensorboard(state: RunState, ids: dict[str, str]) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    # steps after the checkpoint are made again: what the board shows of them is replaced
    again: dict[str, Any] = {"purge_step": state.step + 1} if state.step else {}
    return TensorBoardLogger(str(state.folder.path), name="tensorboard", version="", default_hp_metric=False, **again)


def _csv(state: RunState, ids: dict[str, str]) -> Logger:
    from lightning.pytorch.loggers import CSVLogger

    return CSVLogger(str(state.folder.path), name="csv", version=f"from-step-{state.step}", flush_logs_every_n_steps=1)


def _wandb(state: RunState, ids: dict[str, str]) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    logger = WandbLogger(
        name=_name(state), project=project, save_dir=str(state.folder.path), id=ids.get("wandb"), resume="allow"
    )
    ids["wandb"] = str(logger.experiment.id)
    return logger


def _mlflow(state: RunState, ids: dict[str, str]) -> Logger:
    from lightning.pytorch.loggers import MLFlowLogger

    folder = state.folder.path.resolve()
    # MLflow 3 refuses plain folders of runs; a database file is what its own interface opens from disk
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
    project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    logger = MLFlowLogger(
        project,
        run_name=_name(state),
        tracking_uri=address,
        run_id=ids.get("mlflow"),
        artifact_location=(folder / "mlruns").as_uri() if address.startswith("sqlite:") else None,
    )
    ids["mlflow"] = str(logger.run_id)
    return logger


BUILDERS: Mapping[str, Callable[[RunState, dict[str, str]], Logger]] = {
    "tensorboard": _tensorboard,
    "csv": _csv,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def _name(state: RunState) -> str:
    path = state.folder.path.resolve()
    return path.name if (path.parent / "latest").exists() else f"{path.parent.name}-{path.name}"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted path; lists as texts."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found.update(flat(value, f"{path}."))
        else:
            found[path] = str(value) if isinstance(value, list | tuple) else value
    return found
