"""Ranges of settings: metadata that are shown, checked before a run, and hold for instances made in Python."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from repcore import registry
from repcore.cli.main import run
from repcore.config import DataConfig, OptimiserConfig, TrainerConfig
from repcore.config.bounds import BOUNDS, check_bounds, range_words, violation
from repcore.config.describe import describe
from repcore.config.plain import field_types, nested_class
from repcore.config.resolve import resolve_run
from repcore.config.schema import SECTIONS
from repcore.config.validate import build
from repcore.errors import ConfigError
from repcore.specs import SPEC_TYPES
from repcore.training import assembly
from repcore.training.finetune_config import FinetuneConfig
from repcore.training.trainers import check_precision
from tests.toys.toy_pairs import code


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as told:
        resolve_run(registry.default(), "pairs/set-net", overrides=overrides)
    return str(told.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimiser.clip_norm=-1", "optimiser.clip_norm=-1.0 is not above 0"),
        ("optimiser.clip_norm=0", "optimiser.clip_norm=0.0 is not above 0"),
        ("optimiser.lr=inf", "optimiser.lr=inf is not a finite number"),
        ("optimiser.lr=nan", "optimiser.lr=nan is not a finite number"),
        ("optimiser.betas=[2,3]", "optimiser.betas=[2.0, 3.0] is not below 1"),
        ("optimiser.betas=[0.9,-0.1]", "is below 0"),
        ("optimiser.weight_decay=-0.1", "optimiser.weight_decay=-0.1 is below 0"),
        ("optimiser.momentum=1.0", "optimiser.momentum=1.0 is not below 1"),
        ("optimiser.eps=0", "optimiser.eps=0.0 is not above 0"),
        ("trainer.steps=0", "trainer.steps=0 is below 1"),
        ("trainer.epochs=0", "trainer.epochs=0.0 is not above 0"),
        ("trainer.seed=-1", "trainer.seed=-1 is below 0"),
        ("trainer.precision=64-true", "32-true"),
        ("data.batch_size=0", "data.batch_size=0 is below 1"),
        ("data.validation_share=1", "data.validation_share=1.0 is not below 1"),
        ("data.workers=-1", "data.workers=-1 is below 0"),
        ("schedule.warmup_steps=-3", "schedule.warmup_steps=-3 is below 0"),
        ("schedule.final_share=nan", "is not a finite number"),
        ("trainer.steps=9223372036854775808", "trainer.steps=9223372036854775808 is beyond 64 bits"),
        ("objective.queue=-99999999999999999999", "is beyond 64 bits"),
        ("data.workers=1000000", "data.workers=1000000 is above 1024"),
        ("trainer.strategy=deepspeed", "trainer.strategy='deepspeed'"),
    ],
)
def test_settings_outside_their_range_are_refused(toys: None, override: str, words: str) -> None:
    assert words in message(override)


def test_all_ranges_are_reported_at_once_with_their_meaning(toys: None) -> None:
    text = message("optimiser.lr=-1", "data.batch_size=0", "trainer.nonsense=1")
    assert "3 problems" in text
    assert "optimiser.lr=-1.0 is not above 0" in text
    assert "data.batch_size=0 is below 1" in text
    assert "trainer.nonsense is not a setting" in text


@pytest.mark.parametrize(
    ("override", "near"),
    [("seed=1", "trainer.seed=..."), ("lr=1", "optimiser.lr=..."), ("trainer.lr=1", "optimiser.lr=..."),
     ("batch_sise=3", "data.batch_size=..."), ("optimizer.lr=1", "optimiser")],
)  # fmt: skip
def test_near_names_lead_to_the_right_section(toys: None, override: str, near: str) -> None:
    assert near in message(override)


def test_python_code_is_held_to_the_same_ranges() -> None:
    for make in (
        lambda: OptimiserConfig(clip_norm=-1.0),
        lambda: OptimiserConfig(betas=(0.9, 1.0)),
        lambda: TrainerConfig(steps=0),
        lambda: DataConfig(validation_share=1.5),
    ):
        with pytest.raises(ValueError, match=r"is (not )?(above|below)"):
            make()


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = field(default=0.5, metadata={"help": "share", "above": 0, "below": 1})


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """Settings of a plugin, without any import of core."""

    width: int = field(default=8, metadata={"help": "width", "min": 2, "max": 64})
    kind: str = field(default="a", metadata={"help": "kind", "choices": ("a", "b")})
    scale: float | None = field(default=None, metadata={"help": "scale", "above": 0, "infinite": True})
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 1}, "x.width=1 is below 2"),
        ({"width": 65}, "x.width=65 is above 64"),
        ({"kind": "c"}, "x.kind='c' is not a or b"),
        ({"inner": {"share": 1.0}}, "x.inner.share=1.0 is not below 1"),
        ({"scale": 0.0}, "x.scale=0.0 is not above 0"),
    ],
)
def test_plugins_declare_ranges_in_the_same_way(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match="x") as told:
        build(Plugin, values, prefix="x")
    assert words in str(told.value)
    assert build(Plugin, {"scale": float("inf")}, prefix="x").scale == float("inf")


def test_ranges_are_shown() -> None:
    types = {row.path: row.type for row in describe(Plugin)}
    assert types["width"] == "int, 2 to 64"
    assert types["kind"] == "text, a or b"
    assert types["inner.share"] == "float, above 0 and below 1"
    assert {row.path: row.type for row in describe(OptimiserConfig)}["clip_norm"] == "float or null, above 0"


def test_words_and_violations_agree() -> None:
    assert range_words({"min": 1}) == "at least 1"
    assert violation({"min": 0, "below": 1}, [0.0, 0.999]) == ""
    assert violation({"min": 0, "below": 1}, [0.0, 1.0]) == "is not below 1"
    assert violation({}, True) == ""
    check_bounds(Plugin())


def test_half_precision_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match="16-mixed needs a GPU"):
        check_precision("16-mixed", "cpu")
    check_precision("bf16-mixed", "cpu")


FREE = {  # numbers without a range, and why
    "DenseClassificationConfig.values", "ScenesConfig.ignored_label",
    # ^ what files hold as labels
    "LogMelConfig.mean", "AnatomyEncoderConfig.mean", "VolumeConfig.window_hu", "AlicePairsConfig.foreground",
    "AlicePairsConfig.least_score",
    # ^ values of a signal or a score, on a scale of its own
}  # fmt: skip


def leaves(annotation: Any) -> Iterator[Any]:
    """The types inside unions and tuples."""
    if typing.get_origin(annotation) is not typing.Literal:
        inner = typing.get_args(annotation)
        yield from (one for part in inner for one in leaves(part)) if inner else (annotation,)


def configs() -> set[type]:
    """Config classes of everything that core and the installed plugins register, with those inside."""
    found: set[type] = set()

    def add(one: type | None) -> None:
        if one is not None and one not in found:
            found.add(one)
            for annotation in field_types(one).values():
                add(nested_class(annotation))

    for kind in SPEC_TYPES:
        for entry in registry.default().entries(kind.kind):
            if getattr(entry.spec, "config", "") and not entry.plugin.target.startswith("tests."):
                add(entry.load("config"))
    for section in (*SECTIONS.values(), FinetuneConfig):
        add(section)
    return found


def test_every_number_that_can_be_set_has_a_range() -> None:
    """A negative width, a temperature of 0 or a share of 2 is an error of settings, not of whatever meets it first."""
    numbers, bare = 0, set()
    for config in configs():
        for one in dataclasses.fields(config):
            if {int, float} & set(leaves(field_types(config)[one.name])):
                numbers += 1
                if not set(BOUNDS) & set(one.metadata):
                    owner = next(base for base in config.__mro__ if one.name in vars(base).get("__annotations__", {}))
                    bare.add(f"{owner.__name__}.{one.name}")
    assert numbers > 300
    assert bare == FREE


@pytest.mark.parametrize(
    ("recipe", "override", "words"),
    [
        ("audio/ssamba", "encoder.states=-1", "encoder.states=-1 is below 1"),
        ("audio/ssamba", "objective.temperature=0", "objective.temperature=0.0 is not above 0"),
        ("graphs/graph-contrast", "encoder.dropout=1", "encoder.dropout=1.0 is not below 1"),
        ("medical3d/adam-v1", "objective.momentum=1.5", "objective.momentum=1.5 is above 1"),
        ("medical3d/adam-v2", "objective.views.hue=-0.1", "objective.views.hue=-0.1 is below 0"),
        ("medical3d/alice", "encoder.depths=[2,0,2,2]", "encoder.depths=[2, 0, 2, 2] is below 1"),
        ("molecules/selformer", "preprocessor.vocabulary=abc", "vocabulary=abc would not be read: mode=symbol"),
        ("pointcloud/fac", "dataset.seed=-1", "dataset.seed=-1 is below 0"),
    ],
)
def test_plugins_numbers_are_compared_before_a_run(recipe: str, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        resolve_run(registry.default(), recipe, overrides=(override,))
    assert words in str(told.value)


def test_instances_that_a_recipe_makes_are_compared_when_they_are_built(toys: None) -> None:
    part = resolve_run(registry.default(), "pairs/set-net").encoder
    with pytest.raises(ConfigError, match=r"encoder pairs/set-net: width=-4 is below 1"):
        assembly.build(dataclasses.replace(part, config=dataclasses.replace(part.config, width=-4)))


def test_a_first_step_that_cannot_be_made_names_the_settings(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(self: object, *given: object) -> None:
        torch.zeros(2, 3) @ torch.zeros(2, 3)

    monkeypatch.setattr(code.TwoViews, "draw", draw)
    words = ["pairs", "train", "set-net", "--out", str(tmp_path / "runs"), "--device", "cpu", "objective.queue=7"]
    assert run(words) == 2
    told = capsys.readouterr().err
    assert "RunError: pairs/two-views cannot make a first step with these settings" in told
    assert "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)" in told
    assert "settings: objective.queue=7\n" in told
    assert not (tmp_path / "runs").exists()  # none was begun
