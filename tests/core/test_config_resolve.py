"""From recipe, file and overrides to validated settings: precedence, origins, all problems at once, round trips."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from repcore import registry
from repcore.config.describe import describe, json_schema
from repcore.config.plain import field_types, to_plain
from repcore.config.resolve import ResolvedRun, resolve_part, resolve_plain, resolve_run
from repcore.config.schema import Part, RunConfig, ScheduleConfig, TrainerConfig
from repcore.config.validate import build
from repcore.errors import ConfigError, RegistryError
from repcore.registry import Registry


@pytest.fixture
def known(toys: None) -> Registry:
    return registry.default()


def resolve(known: Registry, *overrides: str, file: Path | None = None) -> ResolvedRun:
    return resolve_run(known, "pairs/set-net", overrides=overrides, file=file)


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def message(known: Registry, *overrides: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        resolve(known, *overrides, file=file)
    return str(raised.value)


# --------------------------------------------------------------------------------------------- precedence


def test_overrides_beat_the_file_which_beats_the_recipe(known: Registry, tmp_path: Path) -> None:
    path = written(tmp_path, "encoder: {width: 24, dropout: 0.3}\ntrainer:\n  steps: 7\n")
    run = resolve(known, "encoder.width=32", file=path)
    assert (run.encoder.config.width, run.encoder.config.dropout, run.trainer.steps) == (32, 0.3, 7)
    assert run.optimiser.lr == 3e-3, "the recipe's value stays"
    assert run.origin["encoder.width"] == "command line"
    assert run.origin["encoder.dropout"] == f"{path}:1"
    assert run.origin["trainer.steps"] == f"{path}:3"
    assert run.origin["optimiser.lr"] == "recipe pairs/set-net, preset tiny"
    assert "trainer.seed" not in run.origin, "a default has no origin"


def test_a_recipe_may_give_settings_by_name(known: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    config = known.recipe("pairs/set-net").load("presets", "tiny")()
    named = dataclasses.replace(config, encoder=Part(config.encoder.name, {"width": 40}))
    monkeypatch.setattr("tests.toys.toy_pairs.configs.tiny", lambda: named)
    run = resolve(known)
    assert run.encoder.config.width == 40
    assert run.origin["encoder.width"] == "recipe pairs/set-net, preset tiny"
    wrong = dataclasses.replace(config, encoder=Part(config.encoder.name, {"widht": 40}))
    monkeypatch.setattr("tests.toys.toy_pairs.configs.tiny", lambda: wrong)
    assert "widht is not a setting" in message(known)


def test_flags_and_overrides_may_not_contradict_each_other(known: Registry) -> None:
    run = resolve_run(known, "pairs/set-net", overrides=["data.workers=1"], settings={"data.workers": 1})
    assert run.data.workers == 1
    with pytest.raises(ConfigError, match=r"data\.workers=3 contradicts data\.workers=1"):
        resolve_run(known, "pairs/set-net", overrides=["data.workers=3"], settings={"data.workers": 1})
    with pytest.raises(ConfigError, match=r"dataset=pairs/sets contradicts dataset\.name=edges/rings"):
        resolve_run(known, "pairs/set-net", overrides=["dataset=pairs/sets"], settings={"dataset.name": "edges/rings"})


def test_a_recipe_is_of_the_domain_that_is_asked_for(known: Registry) -> None:
    with pytest.raises(RegistryError, match="recipe pairs/set-net is of the domain pairs, not of 'edges'"):
        resolve_run(known, "pairs/set-net", domain="edges")


def test_the_later_override_wins(known: Registry) -> None:
    assert resolve(known, "trainer.seed=1", "trainer.seed=2").trainer.seed == 2


def test_what_was_typed_for_a_part_survives_the_flag_that_names_it(known: Registry) -> None:
    """As with ``--data PATH dataset.items=9``: the flag names another reader, the setting is meant for that one."""
    flags = {"dataset.name": "edges/rings"}
    run = resolve_run(known, "pairs/set-net", overrides=["dataset.items=9"], settings=flags)
    assert (run.dataset.name, run.dataset.config.items) == ("edges/rings", 9)
    with pytest.raises(ConfigError, match=r"dataset\.nonsense"):
        resolve_run(known, "pairs/set-net", overrides=["dataset.nonsense=9"], settings=flags)
    before = resolve_run(known, "pairs/set-net", overrides=["dataset.items=12", "dataset=edges/rings"])
    assert (before.dataset.name, before.dataset.config.items) == ("edges/rings", 12)


def test_a_renamed_part_starts_from_its_own_defaults(known: Registry, tmp_path: Path) -> None:
    """Settings of the recipe's part must not leak into another one that has a field of the same name."""
    changed = resolve(known, "dataset.items=99")
    assert changed.dataset.config.items == 99
    run = resolve_run(
        known, "pairs/set-net", overrides=["dataset.items=99", "dataset.name=edges/rings", "dataset.items=12"]
    )
    assert (run.dataset.name, run.dataset.config.items) == ("edges/rings", 12)
    fresh = resolve(known, "dataset=edges/rings", file=written(tmp_path, "dataset: {items: 99}\n"))
    assert fresh.dataset.config.items == 48
    assert fresh.origin["dataset.name"] == "command line"
    assert "dataset.items" not in fresh.origin


def test_naming_the_same_part_again_keeps_its_settings(known: Registry) -> None:
    run = resolve(known, "dataset.items=99", "dataset.name=blobs")
    assert (run.dataset.name, run.dataset.config.items) == ("pairs/blobs", 99)
    assert resolve(known, "dataset.items=99", "dataset.name=pairs/blobs").dataset.config.items == 99


def test_views_can_be_switched_off(known: Registry, tmp_path: Path) -> None:
    assert resolve(known, "views=null").views is None
    assert resolve(known, "views=").views is None
    assert resolve(known, file=written(tmp_path, "views: null\n")).views is None


# ------------------------------------------------------------------------------------------------- errors


def test_unknown_key_with_near_miss(known: Registry, tmp_path: Path) -> None:
    shown = message(known, file=written(tmp_path, "\nencoder:\n  widht: 12\n"))
    assert shown.splitlines()[0] == "encoder.widht is not a setting"
    assert "run.yaml:3" in shown
    assert "encoder has: width, point_width, dropout" in shown
    assert shown.splitlines()[-1].split() == ["try:", "width"]


def test_unknown_section_with_near_miss(known: Registry) -> None:
    shown = message(known, "trainr.steps=3")
    assert "trainr is not a setting" in shown
    assert shown.splitlines()[-1].split() == ["try:", "trainer"]


def test_unknown_key_of_a_section(known: Registry) -> None:
    shown = message(known, "trainer.step=3")
    assert "trainer.step is not a setting" in shown
    assert "steps" in shown.splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("encoder.width=wide", ["encoder.width='wide'", "integer", "feature width"]),
        ("encoder.width=3.5", ["encoder.width='3.5'", "integer"]),
        ("encoder.width=true", ["encoder.width='true'", "integer"]),
        ("encoder.dropout=yes", ["encoder.dropout='yes'", "number"]),
        ("trainer.deterministic=1", ["trainer.deterministic='1'", "boolean"]),
        ("optimiser.betas=[0.9]", ["optimiser.betas"]),
        ("optimiser.name=adm", ["optimiser.name='adm'", "adamw"]),
        ("encoder.width=null", ["encoder.width"]),
    ],
)
def test_wrong_type_names_value_meaning_and_origin(known: Registry, override: str, words: list[str]) -> None:
    shown = message(known, override)
    for one in [*words, "(from command line)"]:
        assert one in shown


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("objective.mask_ratio=1.2", "mask_ratio=1.2 is outside 0 < mask_ratio < 1"),
        ("trainer.accumulate=0", "accumulate=0 is below 1"),
        ("optimiser.lr=-1", "lr=-1.0 is not above 0"),
    ],
)
def test_range_is_the_authors_own_sentence(known: Registry, override: str, words: str) -> None:
    assert words in message(known, override).splitlines()[0]


def test_all_problems_come_at_once(known: Registry) -> None:
    shown = message(known, "encoder.widht=1", "trainer.steps=x", "objective.mask_ratio=2", "oprimiser.lr=1")
    assert shown.startswith("4 problems in the configuration: ")
    for one in ("encoder.widht", "trainer.steps='x'", "mask_ratio=2.0", "oprimiser"):
        assert one in shown


def test_unknown_part_preset_and_recipe(known: Registry) -> None:
    with pytest.raises(RegistryError, match="set-nit") as raised:
        resolve(known, "encoder=set-nit")
    assert "pairs/set-net" in str(raised.value)
    with pytest.raises(RegistryError, match="no preset 'tny'") as raised:
        resolve_run(known, "pairs/set-net", preset="tny")
    assert "tiny" in str(raised.value)
    with pytest.raises(RegistryError, match="set-nte"):
        resolve_run(known, "set-nte", domain="pairs")


def test_a_required_part_cannot_be_switched_off(known: Registry) -> None:
    assert "encoder is required" in message(known, "encoder=null")


def test_a_section_that_is_no_mapping(known: Registry) -> None:
    shown = message(known, "trainer=fast")
    assert "trainer" in shown
    assert "Traceback" not in shown


# --------------------------------------------------------------------------------- round trips and facts


def test_plain_reads_back(known: Registry) -> None:
    run = resolve(known, "encoder.width=32", "views.keep=0.5", "trainer.epochs=1.5", "dataset.broken=[1, 2]")
    document = json.loads(json.dumps(run.plain()))
    again = resolve_plain(known, document, "run x")
    assert again.plain() == run.plain()
    assert again.dataset.config == run.dataset.config
    assert again.origin["encoder.width"] == "run x"


@pytest.mark.parametrize("damaged", [{}, [], None, {"recipe": 3, "preset": "tiny"}])
def test_settings_that_are_none_of_a_run_are_an_error(known: Registry, damaged: Any) -> None:
    with pytest.raises(ConfigError, match="the settings of run x say no recipe"):
        resolve_plain(known, damaged, "run x")


def test_epochs_that_are_given_win_over_steps_of_the_recipe(known: Registry, tmp_path: Path) -> None:
    assert resolve(known).trainer.steps == 10
    run = resolve(known, "trainer.epochs=0.1")
    assert (run.trainer.steps, run.trainer.epochs) == (None, 0.1)
    assert run.origin["trainer.steps"] == "trainer.epochs of command line"
    path = written(tmp_path, "trainer:\n  steps: 7\n")
    assert resolve(known, "trainer.epochs=0.1", file=path).trainer.steps is None
    path = written(tmp_path, "trainer:\n  epochs: 2\n")
    assert resolve(known, "trainer.steps=3", file=path).trainer.steps == 3
    assert resolve(known, "trainer.epochs=null").trainer.steps == 10
    with pytest.raises(ConfigError, match=r"trainer.steps and trainer.epochs are both given \(command line\)"):
        resolve(known, "trainer.steps=3", "trainer.epochs=0.1")


def test_a_seed_is_one_that_every_library_takes(known: Registry) -> None:
    assert resolve(known, "trainer.seed=4294967295").trainer.seed == 2**32 - 1
    assert "is above 4294967295" in message(known, "trainer.seed=4294967296")


def test_plain_of_an_older_run_with_a_lost_setting_is_an_error(known: Registry) -> None:
    document = resolve(known).plain()
    document["encoder"]["depth"] = 3
    with pytest.raises(ConfigError, match=r"encoder\.depth is not a setting"):
        resolve_plain(known, document, "run x")


def test_facts_fill_what_is_empty_and_nothing_else(known: Registry) -> None:
    run = resolve(known).with_facts({"point_width": 2, "width": 99, "unheard_of": 1})
    assert run.encoder.config.point_width == 2
    assert run.encoder.config.width == 16
    assert run.origin["encoder.point_width"] == "preprocessor"
    given = resolve(known, "encoder.point_width=7").with_facts({"point_width": 2})
    assert given.encoder.config.point_width == 7
    assert given.origin["encoder.point_width"] == "command line"


def test_a_part_outside_a_run(known: Registry) -> None:
    part = resolve_part(known, "dataset", "blobs", {"items": 5}, "pairs")
    assert (part.name, part.config.items) == ("pairs/blobs", 5)
    with pytest.raises(ConfigError, match=r"dataset\.itms is not a setting"):
        resolve_part(known, "dataset", "blobs", {"itms": 5}, "pairs")


# ------------------------------------------------------------------------------------- authors' own types


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = field(default=0.5, metadata={"help": "a rate", "unit": "Hz"})


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = field(default=Inner(), metadata={"help": "nested"})
    maybe: Inner | None = field(default=None, metadata={"help": "optional"})
    kind: Literal["a", "b"] = field(default="a", metadata={"help": "kind"})
    sizes: tuple[int, ...] = field(default=(1, 2), metadata={"help": "sizes"})
    path: Path | None = field(default=None, metadata={"help": "file"})
    table: dict[str, float] = field(default_factory=dict, metadata={"help": "table"})


def test_nested_dataclasses_validate_strictly() -> None:
    made = build(Outer, {"inner": {"rate": 2.0}, "maybe": {}, "path": "x/y", "table": {"k": 1.0}}, prefix="part")
    assert made == Outer(inner=Inner(rate=2.0), maybe=Inner(), path=Path("x/y"), table={"k": 1.0})
    assert build(Outer, to_plain(made), prefix="part") == made
    with pytest.raises(ConfigError, match=r"part.inner.rte is not a setting") as raised:
        build(Outer, {"inner": {"rte": 2.0}}, prefix="part")
    assert "rate" in str(raised.value)
    with pytest.raises(ConfigError, match=r"part\.inner\.rate") as raised:
        build(Outer, {"inner": {"rate": True}}, prefix="part")
    assert "a rate (Hz)" in str(raised.value)


def test_describe_and_schema() -> None:
    rows = {row.path: row for row in describe(Outer)}
    assert (rows["inner.rate"].default, rows["inner.rate"].unit) == ("0.5", "Hz")
    assert rows["kind"].type == "a | b"
    assert "null" in rows["path"].type
    assert json_schema(Outer)["properties"]["sizes"]["type"] == "array"


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    made = dataclasses.make_dataclass("Lost", [("x", "NoSuchType", None)], frozen=True, kw_only=True)
    with pytest.raises(ConfigError, match="NoSuchType"):
        field_types(made)
    with pytest.raises(ConfigError, match="is not a dataclass"):
        field_types(int)


def test_to_plain_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ConfigError, match="type complex"):
        to_plain({"x": 1j})


def test_every_core_setting_has_a_help_text() -> None:
    from repcore.config.schema import SECTIONS

    silent = [row.path for section in SECTIONS.values() for row in describe(section) if not row.help]
    assert not silent
    assert {one.name for one in dataclasses.fields(RunConfig)} >= set(SECTIONS)


def test_a_run_without_length_lasts_one_epoch() -> None:
    assert TrainerConfig().epochs == 1.0
    assert TrainerConfig(steps=5).epochs is None
    assert ScheduleConfig().warmup_steps == 0
