"""Calls from Python: arguments are checked in one place, and the caller's process stays as it was."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import random
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch

import repcore
from repcore.arguments import checked
from repcore.data.guard import concerns_item
from repcore.devices import device_in_words, not_on_device, torch_device
from repcore.embedding.inference import InferenceOptions, map_prepared, prepare_rows
from repcore.errors import CheckpointError, ConfigError, DataError, RegistryError
from repcore.interfaces import LossTerms
from repcore.training.module import ObjectiveModule
from repcore.training.trainers import accelerator
from tests.toys.toy_run import make_run

SETS = np.random.default_rng(0).normal(size=(20, 6, 2)).astype(np.float32)
FRAME = pd.DataFrame({"points": list(SETS), "kind": [("line", "ring")[row % 2] for row in range(20)]})
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def model(tmp_path: Path, toys: None, monkeypatch: pytest.MonkeyPatch) -> repcore.Model:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", "preprocessor.centre=false")
    return repcore.load(tmp_path / "run")


def state() -> dict[str, Any]:
    """What a call may not change."""
    return {
        "python": random.getstate(),
        "numpy": [str(one) for one in np.random.get_state()],  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "levels": [logging.getLogger(name).level for name in ("lightning", "lightning.pytorch", "lightning.fabric")],
        "filters": [str(one) for one in warnings.filters],
        "threads": torch.get_num_threads(),
        "numbers": torch.get_default_dtype(),
        "starts processes by": multiprocessing.get_start_method(allow_none=True),
    }


CALLS: dict[str, Callable[[repcore.Model], Any]] = {
    "train": lambda model: repcore.train(
        "pairs/set-net", list(SETS), steps=1, device="cpu", report=False, trainer__threads=2
    ),
    "finetune": lambda model: repcore.finetune(
        model, FRAME, label="kind", epochs=1, device="cpu", twin=False, report=False
    ),
    "probe": lambda model: repcore.probe(model, FRAME, label="kind", seeds=1, protocols=["linear@1"]),
    "fit": lambda model: repcore.fit("spread", model, list(SETS)),
    "load": lambda model: repcore.load(model.folder.folder),
    "embed": lambda model: model.embed(list(SETS), workers=1),
    "tokens": lambda model: model.tokens(list(SETS[:2])),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_the_process_as_it_was(name: str, model: repcore.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.use_deterministic_algorithms(False)
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", None)  # type: ignore[attr-defined]
    before = state()
    CALLS[name](model)
    after = state()
    changed = [what for what in before if before[what] != after[what]]
    assert not changed, f"{name} changes {changed}"


def test_a_call_does_not_depend_on_switches_of_the_caller(model: repcore.Model) -> None:
    expected = model.embed(SETS[:3]).vectors
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            run = repcore.train("pairs/set-net", list(SETS), steps=1, device="cpu", report=False)
            assert {one.dtype for one in run.module.parameters()} == {torch.float32}
            np.testing.assert_array_equal(model.embed(SETS[:3]).vectors, expected)
            assert torch.is_inference_mode_enabled()
        assert torch.get_default_dtype() == torch.float64
        before = torch.get_rng_state()
        assert run.report.is_file()
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_changed_network_is_saved_first_or_known_by_its_own_hash(model: repcore.Model, tmp_path: Path) -> None:
    was = model.identity()
    fitted = repcore.fit("spread", model, list(SETS))
    with torch.no_grad():
        next(iter(model.module.parameters())).add_(1.0)
    assert model.identity() != was
    for call in (
        lambda: repcore.train("pairs/set-net", list(SETS), steps=1, init_from=model),
        lambda: repcore.finetune(model, FRAME, label="kind", epochs=1),
        lambda: fitted.save(tmp_path / "spread"),
    ):
        with pytest.raises(CheckpointError, match=r"was changed since it was loaded\n.*model\.save\(FOLDER\)"):
            call()
    with pytest.raises(CheckpointError, match="was fitted on features of another model"):
        fitted.apply(list(SETS))
    again = repcore.fit("spread", model, list(SETS))
    assert again.fitted.identity == model.identity()
    assert len(again.apply(list(SETS))) == len(SETS)
    assert model.save(tmp_path / "saved").identity() == model.identity()


def test_a_run_from_python_is_the_same_whatever_was_drawn_before(model: repcore.Model) -> None:
    def vectors(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        run = repcore.train("pairs/set-net", list(SETS), steps=2, device="cpu", report=False)
        return run.embed(SETS[:3]).vectors

    np.testing.assert_array_equal(vectors(1), vectors(2))


def test_a_fine_tuned_run_has_steps_and_a_page(model: repcore.Model) -> None:
    run = repcore.finetune(model, FRAME, label="kind", steps=3, device="cpu", twin=False)
    assert run.steps == 3
    assert "<html" in run.report.read_text()


WRONG: list[tuple[Callable[[repcore.Model], Any], str]] = [
    (lambda model: repcore.load(model), r"path=<Model> is no path or text"),  # type: ignore[arg-type]
    (lambda model: repcore.load(repcore.Run(Path("runs"))), r"path=<Run> is no path or text\n  try: path.model"),  # type: ignore[arg-type]
    (lambda model: repcore.load("run", device=7), "device=7 is no text or torch device"),  # type: ignore[arg-type]
    (lambda model: repcore.load("run", registry="all"), "registry='all' is no Registry"),  # type: ignore[arg-type]
    (lambda model: repcore.train("pairs/set-net", None, preset="zz"), "recipe pairs/set-net has no preset 'zz'"),
    (lambda model: repcore.train("pairs/set-net", SETS, preset="zz"), "recipe pairs/set-net has no preset 'zz'"),
    (lambda model: repcore.train("pairs/set-net", SETS, out="file"), "can be no folder: '.*file' is a file"),
    (lambda model: repcore.train("pairs/set-net", SETS, callbacks=5), "callbacks=5 is no list"),  # type: ignore[arg-type]
    (
        lambda model: repcore.train("pairs/set-net", SETS, progress="yes"),
        "progress='yes' is no True, False or Reporter",
    ),  # type: ignore[arg-type]
    (lambda model: repcore.train("pairs/set-net", SETS, device="cuda:99"), "device cuda:99"),
    (lambda model: repcore.finetune(model, FRAME, label=["kind"]), r"label=\['kind'\] is no text"),  # type: ignore[arg-type]
    (lambda model: repcore.finetune(model, FRAME, seeds="a"), "seeds='a' is no whole number"),  # type: ignore[arg-type]
    (lambda model: repcore.finetune(model, FRAME, seeds=0), "seeds=0 is less than 1"),
    (lambda model: repcore.finetune(model, FRAME, folds=1), "folds=1 is less than 2"),
    (lambda model: repcore.finetune(model, None), "no data to read"),
    (lambda model: repcore.finetune(model, FRAME, label="kind", out="file"), "can be no folder"),
    (lambda model: repcore.probe(model, FRAME, protocols="knn@1"), "protocols='knn@1' is no list of texts"),
    (lambda model: repcore.probe(model, FRAME, label=5), "label=5 is no text or list of texts"),  # type: ignore[arg-type]
    (lambda model: repcore.fit("spread", model, None), "no data to read"),
    (lambda model: repcore.fit("spread", model, SETS, pool=3), "pool=3 is no text"),  # type: ignore[arg-type]
    (lambda model: repcore.fit("spread", None, SETS), "model=None is no Model, Run, path or text"),  # type: ignore[arg-type]
    (lambda model: model.embed(None), "no data to read"),
    (lambda model: model.embed(SETS, pool=3), "pool=3 is no text"),  # type: ignore[arg-type]
    (lambda model: model.embed(SETS, layer=-1), "layer=-1 is less than 0"),
    (lambda model: model.embed(SETS, dtype=3), "dtype=3 is no text or torch dtype"),  # type: ignore[arg-type]
    (lambda model: model.embed(SETS, normalise="yes"), "normalise='yes' is no True or False"),  # type: ignore[arg-type]
    (lambda model: model.embed(SETS, options=model), "options=<Model> is no InferenceOptions"),  # type: ignore[arg-type]
    (lambda model: model.embed(SETS, progress=3), "progress=3 is no True, False or function"),  # type: ignore[arg-type]
    (lambda model: model.embed(list(SETS), reader="table"), "reader='table' is for a table or a path"),
    (lambda model: model.predict(SETS, coverage="0.9"), "coverage='0.9' is no number"),  # type: ignore[arg-type]
    (lambda model: model.tokens(SETS, 3), "level=3 is no text"),  # type: ignore[arg-type]
    (lambda model: model.save(5), "folder=5 is no path or text"),  # type: ignore[arg-type]
    (lambda model: model.save("file/in"), "can be no folder: '.*file' is a file"),
    (lambda model: repcore.pull(5), "name=5 is no text"),  # type: ignore[arg-type]
    (lambda model: repcore.import_checkpoint("file", "o", classes="a"), "classes='a' is no list of texts"),
    (lambda model: repcore.Featurizer(model, failed="zz"), "failed='zz' is unknown\n  expected: raise or nan"),  # type: ignore[arg-type]
    (lambda model: repcore.Featurizer(model, pol="max"), "no option 'pol'\n  did you mean: pool"),
    # calls that do not fit the function
    (lambda model: model.embed(SETS, data=SETS), r"embed\(\) got multiple values for argument 'data'"),
    (lambda model: repcore.Run(Path("run")).embed(SETS, data=SETS), r"embed\(\) got multiple values"),
    (lambda model: model.embed(SETS, bach_size=3), r"no argument 'bach_size'\n  did you mean: batch_size"),  # type: ignore[call-arg]
    (lambda model: model.embed(), r"embed\(\) needs data\n"),  # type: ignore[call-arg]
    (lambda model: model.embed(SETS, 3), r"embed\(\) takes data by position, and 3 is one too many"),  # type: ignore[misc]
    (
        lambda model: repcore.train("pairs/set-net", SETS, data={"batch_size": 3}),
        r"'data': by position and data=\{.*\n.*settings of a section 'data' are data__NAME=VALUE",
    ),
    (lambda model: repcore.train("pairs/set-net", data={"batch_size": 3}), "is no data\n.*data__NAME=VALUE"),
    (lambda model: repcore.train("pairs/set-net", SETS, presett="tiny"), "'presett' is no argument.*\n.*preset"),
    (lambda model: repcore.finetune(model, FRAME, trainr__steps=2), "'trainr__steps' is no argument.*\n.*trainer"),
    (lambda model: repcore.train("pairs/set-net", SETS, encoder={"traine": 2}), "encoder.traine is not a setting"),
    # arguments that contradict each other
    (
        lambda model: repcore.train("pairs/set-net", SETS, domain="edges"),
        "is of the domain pairs, not of 'edges'",
    ),
    (
        lambda model: repcore.train("pairs/set-net", SETS, steps=2, trainer={"steps": 3}),
        "steps=2 and trainer.steps=3 are one setting",
    ),
    (
        lambda model: repcore.train("pairs/set-net", SETS, encoder="set-net", encoder__name="x"),
        "encoder='set-net' and encoder__name='x' are one setting",
    ),
    (
        lambda model: repcore.train("pairs/set-net", SETS, dataset={"name": "pairs/sets"}),
        "dataset.name=pairs/sets contradicts dataset.name=memory",
    ),
    (lambda model: repcore.train("pairs/set-net", resume="run", name="other"), "resume='run' and name are both given"),
    (lambda model: repcore.train("pairs/set-net", resume="run", steps=3), "resume='run' and steps are both given"),
    (lambda model: repcore.train("pairs/set-net", resume="run", reader="x"), "reader='x' needs data"),
    (lambda model: repcore.train("pairs/set-net", read={"a": 1}), "read=.*needs data"),
    (lambda model: repcore.train("pairs/set-net", SETS, allow_changed_data=True), "is for a run that goes on"),
    (lambda model: model.embed(FRAME, id_column="kind", read={"id_column": "b"}), "id_column='kind' contradicts read="),
    (lambda model: model.embed(FRAME, read={"x": 1}), "read={'x': 1} is for a table of texts and numbers"),
    (lambda model: model.embed(SETS, read={"x": 1}), "read={'x': 1} is for a table or a path"),
    (lambda model: repcore.probe(model, FRAME, mix="mean"), "mix='mean' needs layers"),
    (lambda model: repcore.finetune(model, FRAME, label="kind", seed=5), "trainer.seed=5 is for pre-training"),
    (lambda model: model.embed(SETS, options=InferenceOptions(device="cuda:99")), "device"),
]


def test_arguments_of_another_kind_are_named_with_their_value(model: repcore.Model) -> None:
    Path("file").write_text("")
    for call, words in WRONG:
        with pytest.raises((ConfigError, DataError, RegistryError), match=words):
            call(model)


def test_a_wrong_call_is_a_type_error_too(model: repcore.Model) -> None:
    with pytest.raises(TypeError, match="did you mean: coverage"):
        model.predict(SETS, converage=0.9)  # type: ignore[call-arg]


def test_every_public_function_checks_its_arguments() -> None:
    public = [
        getattr(repcore, name) for name in ("finetune", "fit", "import_checkpoint", "load", "probe", "pull", "train")
    ]
    methods = [
        getattr(repcore.Model, name) for name in ("embed", "predict", "tokens", "reader", "save", "to", "push_to_hub")
    ]
    methods += [getattr(repcore.Run, name) for name in ("embed", "predict", "tokens", "save", "to", "push_to_hub")]
    for one in (*public, *methods):
        assert hasattr(one, "__wrapped__"), one
        assert all(parameter.annotation for parameter in inspect.signature(one).parameters.values())


def test_annotations_are_what_is_checked() -> None:
    @checked
    def called(
        number: int = 0,
        share: float | None = None,
        names: Sequence[str] = (),
        way: Literal["raise", "nan"] = "raise",
        **rest: Any,
    ) -> str:
        return f"{number} {share} {list(names)} {way} {rest}"

    assert called(np.int64(3), 1, ["a"], "nan", more=[]) == "3 1 ['a'] nan {'more': []}"  # type: ignore[arg-type]
    for wrong in ({"number": True}, {"number": 2.0}, {"share": "x"}, {"names": "a"}, {"names": [1]}, {"way": 3}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))}="):
            called(**wrong)
    with pytest.raises(TypeError, match=r"called\(\) got multiple values for argument 'number'"):
        called(1, number=2)  # type: ignore[misc]


def test_mps_is_a_device_where_torch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for refused in (torch_device, accelerator):
        with pytest.raises(ConfigError, match=r"mps, but torch sees no such device\n  there is: +cpu\n"):
            refused("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert torch_device("mps") == accelerator("mps") == "mps"
    assert torch_device("mps:0") == "mps:0"
    assert torch_device("auto") == "cpu"  # networks may need what torch lacks there
    assert device_in_words("mps") == "Apple GPU"
    with pytest.raises(ConfigError, match=r"cuda, but torch sees no CUDA device\n  there is: +cpu, mps"):
        torch_device("cuda")


LACKING = NotImplementedError(
    "The operator 'aten::segment_reduce' is not currently implemented for the MPS device. If you want this op to be..."
)


def test_an_operator_that_a_device_lacks_is_named_and_no_row_is_blamed(model: repcore.Model) -> None:
    def function(batch: Any) -> torch.Tensor:
        raise LACKING

    rows = prepare_rows(model.reader(list(SETS[:2])), model.preprocessor, [0, 1])
    with pytest.raises(ConfigError, match=r"torch has no aten::segment_reduce on mps.*\n.*MPS_FALLBACK=1"):
        map_prepared(function, model.preprocessor, rows, InferenceOptions(), width=2)
    assert not concerns_item(LACKING)
    assert not concerns_item(TypeError("the MPS framework doesn't support float64. Please use float32 instead."))
    assert not_on_device(NotImplementedError("later")) is None


class Loader(list[Any]):
    """Batches with their numbers, as validation has them."""

    @property
    def numbers(self) -> range:
        return range(len(self))


def test_a_validation_that_counts_nothing_has_no_loss() -> None:
    def evaluated(*counts: int) -> dict[str, float]:
        terms = [LossTerms.of({"masked": torch.tensor(2.0 if one else 0.0)}, counts={"masked": one}) for one in counts]
        found = iter(terms)
        rules: Any = lambda batch, draws: next(found)  # noqa: E731
        rules.draw = lambda batch, generator, progress: None
        batch = SimpleNamespace(size=1, to=lambda device: batch)
        trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext), world_size=1)
        module = SimpleNamespace(
            objective=torch.nn.Identity(), device="cpu", seed=0, global_step=0, progress_at=lambda step: None,
            rules=rules, trainer=trainer,
        )  # fmt: skip
        loader = Loader(SimpleNamespace(batch=batch) for _ in counts)
        return ObjectiveModule.evaluate(module, loader)  # type: ignore[arg-type]

    assert evaluated(0) == {}
    assert evaluated(0, 3)["loss"] == 2.0


def test_the_default_pooling_comes_first(model: repcore.Model) -> None:
    assert model.poolings[0] == "mean"
    model.encoder.pooling = "max"  # type: ignore[assignment]
    assert model.poolings[0] == "max"
    assert len(set(model.poolings)) == len(model.poolings)
