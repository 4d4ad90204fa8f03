"""What Tab completes, as Bash asks for it and in the form that zsh and fish ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repcore import registry
from repcore.cli.completion import FINDERS, Bash
from repcore.cli.main import COMMANDS, DOMAIN_COMMANDS, load_target, root
from repcore.config.plain import field_types
from tests.ecosystem.test_startup import launch
from tests.toys.toy_run import make_run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complete(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Bash is told for a line, which it has taken apart at every ``=``; a ``|`` is an empty last word."""
    words = line.replace("=", " = ").replace("|", "").split()
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) if line.endswith("|") else len(words) - 1))
    return Bash(root, {}, "repcore", "_REPCORE_COMPLETE").complete().split("\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pairs train |", ["plain,set-net"]),
        ("plan pa", ["plain,pairs/set-net"]),
        ("plan set", ["plain,set-net"]),
        ("pairs train set-net --preset t", ["plain,tiny"]),
        ("pairs train set-net trainer.st", ["plain,trainer.steps=", "plain,trainer.strategy="]),
        ("pairs train set-net trainer.steps=5 trainer.lo", ["plain,trainer.log_every=", "plain,trainer.loggers="]),
        ("pairs train set-net trainer.precision=", ["plain,32-true", "plain,bf16-mixed", "plain,16-mixed"]),
        ("pairs train set-net trainer.precision=b", ["plain,bf16-mixed"]),
        ("pairs train set-net trainer.compile=|", ["plain,true", "plain,false"]),
        ("pairs train set-net encoder=set", ["plain,set-net"]),
        ("pairs train set-net preprocessor.ce", ["plain,preprocessor.centre="]),
        ("pairs finetune run finetune.frozen_e", ["plain,finetune.frozen_epochs="]),
        ("pairs finetune run task.class_w", ["plain,task.class_weights="]),
        ("pairs finetune run --task classi", ["plain,classification"]),
        ("pairs finetune run --split strat", ["plain,stratified", "plain,stratified-folds:"]),
        ("probe run --protocol ridge", ["plain,ridge@1"]),
        ("embed run data --pool fi", ["plain,first"]),
        ("embed run data --device c", ["plain,cpu", "plain,cuda"]),
        ("embed run data --format np", ["plain,npz"]),
        ("embed run |", ["file,"]),
        ("fit spr", ["plain,spread"]),
        ("list enc", ["plain,encoders"]),
        ("show pairs/set", ["plain,pairs/set-net", "plain,pairs/sets"]),
        ("pairs train --resume |", ["plain,run", "plain,latest"]),
        ("pairs train no-such-recipe trainer.|", [""]),
    ],
)
def test_words(line: str, expected: list[str], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if " run" in line or "--resume" in line:
        make_run(here / "runs" / "run")
        (here / "runs" / "latest").symlink_to("run")
        line = line.replace(" run ", " runs/run ")
    assert sorted(complete(f"repcore {line}", monkeypatch)) == sorted(expected)


def words(line: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    return {one.partition(",")[2] for one in complete(f"repcore {line}", monkeypatch)}


@pytest.mark.parametrize("domain", ["audio", "graphs", "medical3d", "molecules", "pointcloud", "timeseries"])
def test_tasks_are_of_the_domain(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = {"audio": {"token"}, "graphs": {"node", "edge"}, "medical3d": {"voxel"}, "pointcloud": {"point"}}
    found = words(f"{domain} finetune run --task |", monkeypatch)
    known = registry.default()
    entries = [known.task(one, domain) for one in found]
    assert {one.domain for one in entries} <= {domain, "generic", ""}
    assert {one.spec.target_level for one in entries} == {"item", *levels.get(domain, ())}
    assert {one.spec.name for one in known.entries("task", domain) if one.domain} <= found


def model_of(encoder: str, folder: Path) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text(json.dumps({"encoder": {"name": encoder}}))
    return folder


def test_tasks_go_with_the_model_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_shapes = model_of("pointcloud/i2p-mae", tmp_path / "shapes")
    of_scenes = model_of("pointcloud/sparse-unet", tmp_path / "scenes")
    assert "shape-class" in words(f"pointcloud finetune {of_shapes} --task |", monkeypatch)
    assert "shape-class" not in words(f"pointcloud finetune {of_scenes} --task |", monkeypatch)


LINES = ("molecules finetune x", "probe run", "embed run x", "apply detector x", "compare run run x",
         "plan molecules/selformer", "inspect x --domain molecules")  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_readers_and_their_settings_are_of_what_is_at_hand(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model_of("molecules/selformer", tmp_path / "run")
    (tmp_path / "detector").mkdir()
    (tmp_path / "detector" / "estimator.json").write_text(json.dumps({"model": "run/model"}))
    readers = [one for one in registry.default().entries("dataset", "molecules") if not one.spec.embedded]
    assert words(f"{line} --reader |", monkeypatch) == {one.spec.name for one in readers if one.spec.name != "memory"}
    if not line.startswith("plan"):
        settings = {f"{name}=" for one in readers for name in field_types(one.load("config"))} - {"path="}
        found = words(f"{line} --read |", monkeypatch)
        assert found
        assert found <= settings
        assert "column=" in found


def test_every_name_in_the_table_is_an_argument_of_some_command() -> None:
    known = {"reader_name"}  # of a plugin's command
    for name, (target, _) in {**COMMANDS, **DOMAIN_COMMANDS}.items():
        command = load_target(target)
        for one in (command, *getattr(command, "commands", {}).values()):
            known |= {f"{one.name} {parameter.name}" for parameter in one.params}
            known |= {str(parameter.name) for parameter in one.params}
        assert command.name == name
    assert set(FINDERS) <= known


def test_completion_imports_nothing_large(here: Path) -> None:
    line = "repcore plan audio/ssamba trainer.st"
    program = (
        f"import os, sys; os.environ.update(_REPCORE_COMPLETE='bash_complete', COMP_WORDS='{line}', COMP_CWORD='3');"
        "from repcore.cli.main import run; run([]);"
        "assert not {'torch', 'lightning', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    assert launch(program).stdout.split() == ["plain,trainer.steps=", "plain,trainer.strategy="]


def test_bash_puts_no_space_behind_the_sign() -> None:
    source = Bash(root, {}, "repcore", "_REPCORE_COMPLETE").source()
    assert "== *[=:] ]]; then compopt -o nospace" in source
