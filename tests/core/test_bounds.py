"""Ranges of settings: metadata that are shown, checked before a run, and hold for instances made in Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from repcore import registry
from repcore.config import DataConfig, OptimiserConfig, TrainerConfig
from repcore.config.bounds import check_bounds, range_words, violation
from repcore.config.describe import describe
from repcore.config.resolve import resolve_run
from repcore.config.validate import build
from repcore.errors import ConfigError
from repcore.training.run import check_precision


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
