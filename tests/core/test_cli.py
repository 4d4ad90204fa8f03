"""The command line: help with examples, exit codes, messages that name the thing and the remedy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from repcore import registry
from repcore.cli.main import COMMANDS, DOMAIN_COMMANDS, load_target, run
from repcore.specs import SPEC_TYPES

KINDS = [spec.kind for spec in SPEC_TYPES]
Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("name", [*COMMANDS, *DOMAIN_COMMANDS])
def test_every_command_has_help_with_an_example(name: str) -> None:
    command = load_target({**COMMANDS, **DOMAIN_COMMANDS}[name][0])
    text = command.get_help(click.Context(command, info_name=name))
    assert "Example:" in text
    assert f"repcore {name}" in text or f"repcore DOMAIN {name}" in text
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


def fails(arguments: list[str], capsys: Captured, *words: str, code: int = 2) -> str:
    """Run a command that must fail; its message holds all words and no traceback."""
    assert run(arguments) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    plain = re.sub(r" +", " ", text)
    for word in words:
        assert word in plain, text
    lines = text.strip().splitlines()
    start = next(number for number, line in enumerate(lines) if re.match(r"(\w+Error|Usage): ?", line))
    assert len(lines) - start <= 6, text
    return text


def test_messages_name_the_remedy(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.xyzzy").write_text("nothing")
    fails(["train", "set-net"], capsys, "'train' needs its domain in front", "pairs", "repcore DOMAIN train")
    fails(["pairz", "train"], capsys, "UsageError: no command 'pairz'", "did you mean: pairs")
    fails(["pairs", "trian"], capsys, "pairs has no command 'trian'", "did you mean: train")
    fails(["pairs", "train"], capsys, "which recipe?", "pairs/set-net")
    fails(["pairs", "train", "trainer.steps=9"], capsys, "which recipe?", "pairs/set-net")
    fails(["pairs", "train", "--resume", "r", "trainer.steps=9"], capsys, "no run 'r'")
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "runs" / "r" / "config.json").write_text('{"trainer": {}}')
    fails(["pairs", "train", "--resume", "r", "trainer.steps=9"], capsys, "takes no others", "--init-from")
    for number in range(12):
        (tmp_path / "runs" / f"s{number:02}").mkdir()
        (tmp_path / "runs" / f"s{number:02}" / "config.json").write_text("{}")
    fails(["pairs", "train", "--resume", "x"], capsys, "no run 'x'", "runs: 5 others, s04, s05, s06", "s11")
    fails(["pairs", "train", "set-nett"], capsys, "no recipe 'pairs/set-nett'", "did you mean: pairs/set-net")
    said = ("no preset 'large'", "presets: tiny", "repcore show pairs/set-net")
    fails(["pairs", "train", "set-net", "--preset", "large"], capsys, *said)
    fails(["pairs", "train", "set-net", "trainer.stepz=3"], capsys, "trainer.stepz is not a setting", "try: steps")
    fails(["pairs", "train", "set-net", "trainer.steps=many"], capsys, "trainer.steps", "'many'")
    fails(
        ["pairs", "train", "set-net", "objective.mask_ratio=1.2"],
        capsys,
        "mask_ratio=1.2 is outside 0 < mask_ratio < 1",
    )
    fails(["pairs", "train", "set-net", "steps"], capsys, "override 'steps' is not of the form key=value")
    fails(["pairs", "train", "set-net", "--data", "nowhere"], capsys, "'nowhere' is neither a path nor a data set")
    fails(["pairs", "train", "set-net", "--data", "notes.xyzzy"], capsys, "no reader recognises 'notes.xyzzy'")
    fails(["pairs", "train", "--resume", "lost"], capsys, "RunError: no run 'lost'")
    fails(
        ["pairs", "train", "set-net", "--resume", "r", "trainer.steps=3"], capsys, "--resume goes on with the run's own"
    )
    fails(["pairs", "train", "set-net", "--device", "tpu"], capsys, "--device 'tpu' is unknown")
    fails(["embed", "nowhere", "pairs/blobs", "-o", "v.parquet"], capsys, "model 'nowhere' does not exist")
    fails(["embed", "nowhere", "pairs/blobs", "-o", "v.xlsx"], capsys, "no writer for '.xlsx'", ".parquet")
    fails(["import", "nowhere", "-o", "m"], capsys, "nowhere")
    fails(["show", "pairs/set-nat"], capsys, "nothing is called 'pairs/set-nat'", "pairs/set-net")
    fails(["list", "encodrs"], capsys, "no kind 'encodrs'", "did you mean: encoder")
    fails(["verify", "pairs/set-net", "--golden", "nowhere"], capsys, "nowhere")
    fails(["demo", "nothing"], capsys, "no command 'nothing'")


def test_an_option_of_one_value_is_given_once(toys: None, capsys: Captured) -> None:
    fails(["inspect", "x.csv", "--domain", "sets", "--domain", "pairs"], capsys, "--domain is given 2 times", code=2)
    assert run(["list", "--domain", "sets"]) == 0  # flags and options of many values are as before


def test_a_domain_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("repcore.plugins.find_candidates", list)
    registry.refresh()
    try:
        missing = registry.installable_domains()
        assert len(missing) >= 5
        assert not set(missing) & set(registry.default().domains())
        for domain in missing:
            told = fails([domain, "train"], capsys, f"domain '{domain}' is not installed")
            assert f'pip install "repcore[{domain}]"' in told
    finally:
        monkeypatch.undo()
        registry.refresh()


def test_inspect_prepares_rows_as_a_recipe_would(toys: None, capsys: Captured) -> None:
    assert run(["inspect", "pairs/blobs"]) == 0
    out = capsys.readouterr().out
    assert "prepared as pairs/set-net would" in out, "without a model, as the recipe that fits"
    assert "cost of an item" in out
    assert "next: repcore pairs train set-net --data pairs/blobs" in out
    assert run(["inspect", "pairs/blobs", "--recipe", "pairs/set-net"]) == 0
    assert "cost of an item" in capsys.readouterr().out
    both = ["inspect", "pairs/blobs", "--recipe", "pairs/set-net", "--model", "m"]
    fails(both, capsys, "--model and --recipe were both given")


def test_output_that_is_no_terminal_is_tab_separated_and_whole(toys: None, capsys: Captured) -> None:
    assert run(["list", "encoders", "--domain", "pairs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t")[:3] == ["kind", "name", "summary"]
    assert lines[1].split("\t")[:3] == ["encoder", "pairs/set-net", "Points to sets"]
    assert "\x1b" not in "".join(lines)


def test_json_is_clean(toys: None, capsys: Captured) -> None:
    assert run(["list", "--json"]) == 0
    names = {(one["kind"], one["name"]) for one in json.loads(capsys.readouterr().out)}
    assert {("recipe", "edges/edge-net"), ("probe", "ridge@1"), ("writer", "parquet")} <= names
    assert run(["show", "pairs/set-net", "--json"]) == 0
    assert {one["kind"] for one in json.loads(capsys.readouterr().out)} >= {"encoder", "recipe", "system"}


def test_show_says_what_each_preset_is(toys: None, capsys: Captured) -> None:
    assert run(["show", "pairs/set-net"]) == 0
    told = capsys.readouterr().out
    assert "tiny\tRuns of seconds, see RunConfig.\n" in told
    assert "More of it" not in told


def test_origin_of_every_value(toys: None, tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("trainer:\n  steps: 7\nencoder: {width: 24}\n")
    assert run(["show", "pairs/set-net", "--origin", "--config", str(file), "optimiser.lr=1e-4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["trainer.steps"] == {"value": "7", "origin": f"{file}:2"}
    assert rows["encoder.width"]["value"] == "24"
    assert rows["optimiser.lr"] == {"value": "0.0001", "origin": "command line"}
    assert rows["schedule.warmup_steps"]["origin"] == "recipe pairs/set-net, preset tiny"
    assert rows["optimiser.eps"]["origin"] == "default"


def test_an_existing_output_is_not_overwritten(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.npz").write_text("mine")
    fails(["embed", "m", "pairs/blobs", "-o", "v.npz"], capsys, "'v.npz' exists", "--overwrite")
    assert (tmp_path / "v.npz").read_text() == "mine"


def test_inspect_reports_what_is_wrong(toys: None, capsys: Captured) -> None:
    assert run(["inspect", "pairs/blobs", "--read", "broken=[2, 5]", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reader"] == "pairs/blobs"
    assert found["status"] == {"ok": 58, "unreadable": 2}
    assert found["examples"]["unreadable"][0] == "row 2 (blob-2): blob 2 is broken on purpose"
    assert any("missing" in one for one in found["warnings"])
    assert run(["inspect", "pairs/blobs", "--read", "broken=[2]", "--strict"]) == 1


def test_rejected_rows_are_written_down(toys: None, tmp_path: Path, capsys: Captured) -> None:
    arguments = ["pairs", "train", "set-net", "dataset.broken=[1, 2, 4]", "--out", str(tmp_path), "--name", "r"]
    assert run([*arguments, "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "r" / "rejected.jsonl").read_text().splitlines()]
    assert {row["row"] for row in rows} <= {1, 2, 4}
    assert rows
    assert rows[0]["status"] == "unreadable"


def test_nan_stops_the_run_with_a_capture(toys: None, tmp_path: Path, capsys: Captured) -> None:
    arguments = ["edges", "train", "edge-net", "preprocessor.scale=1e39", "--out", str(tmp_path), "--name", "r"]
    fails([*arguments, "--device", "cpu"], capsys, "RunError", "nan", str(tmp_path / "r" / "failure"))
    assert any((tmp_path / "r").glob("failure*/tensors.safetensors"))


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["probe", "x", "--sed", "1"], "--seeds"),
        (["probe", "x", "--labl", "y"], "--label"),
        (["embed", "x", "y", "--batchsize", "3"], "--batch-size"),
        (["embed", "x", "y", "--outptu", "z"], "--output"),
        (["pairs", "train", "set-net", "--nmae", "z"], "--name"),
        (["list", "--xyzzy"], ""),
    ],
)
def test_a_misspelt_option_names_the_near_one(toys: None, capsys: Captured, words: list[str], meant: str) -> None:
    assert run(words) == 2
    told = capsys.readouterr().err
    wrong = next(word for word in words if word.startswith("--"))
    assert f"has no option '{wrong}'" in told
    assert [line.split()[-1] for line in told.splitlines() if "did you mean" in line] == ([meant] if meant else [])


def test_list_of_a_domain_hides_no_kind(toys: None, capsys: Captured) -> None:
    domain = "pairs"
    assert run(["list", "--domain", domain]) == 0
    shown = {line.split("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]}
    known = registry.default()
    of = {one for one in KINDS if any(entry.domain == domain for entry in known.entries(one, domain))}
    assert of <= shown
    assert of - {"system", "recipe", "encoder", "objective", "dataset"}
