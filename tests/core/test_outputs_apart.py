"""No command writes over what it reads, by whatever name."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from repcore import registry
from repcore.cli import outputs_apart
from repcore.cli.main import COMMANDS, load_target, run
from repcore.cli.outputs_apart import OUTPUTS, refuse_inputs
from tests.toys.toy_run import make_run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table under several names, a folder of data, and one of a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("id,x\na,1\n")
    (tmp_path / "soft.csv").symlink_to("in.csv")
    os.link("in.csv", "hard.csv")
    for name, file in (("data", "a.npy"), ("data", "out.csv"), ("model", "config.json"), ("model", "v.parquet")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text("mine")
    (tmp_path / "linked").symlink_to("data", target_is_directory=True)
    return tmp_path


def refused(name: str, **given: object) -> str:
    """What is said of a command that would be called so; empty if it may begin."""
    options = [
        click.Option(["-o", "--output"], type=click.Path(path_type=Path)),
        click.Option(["--pseudonymise"]),
        click.Option(["--page"], type=click.Path(path_type=Path)),
        click.Option(["--decisions"], type=click.Path(path_type=Path)),
        click.Option(["--rows", "selected_rows"], type=click.Path(resolve_path=True)),
        click.Option(["--read", "settings"], multiple=True),
        click.Option(["--label"]),
        click.Argument(["model"], type=click.Path(path_type=Path)),
        click.Argument(["data"]),
    ]
    ctx = click.Context(click.Command(name, params=list(options)), info_name=name)
    ctx.params = {"model": Path("model"), "data": "in.csv", **given}
    try:
        refuse_inputs(ctx)
    except outputs_apart.DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("output", ["in.csv", "./data/../in.csv", "soft.csv", "hard.csv"])
def test_an_output_that_is_the_input_is_refused_by_any_name(place: Path, output: str) -> None:
    assert "is DATA 'in.csv', which this command reads" in refused("predict", output=Path(output))
    assert "--page" in refused("audit", page=Path(output))
    assert "--pseudonymise" in refused("embed", pseudonymise=output)
    assert "--rows" in refused("embed", data="data", selected_rows="in.csv", output=Path(output))
    assert "--read" in refused("embed", data="data", settings=("labels=in.csv",), output=Path(output))
    assert "is DATA 'in.csv'" in refused("embed", data="i*.csv", output=Path(output))


def test_folders_are_compared_by_what_lies_in_them(place: Path) -> None:
    assert "is the folder that holds DATA 'in.csv'" in refused("embed", output=Path())
    assert "is the folder that holds MODEL 'model/v.parquet'" in refused(
        "import", model=Path("model/v.parquet"), output=Path()
    )
    assert "is DATA 'data'" in refused("embed", data="data", output=Path("linked"))
    assert "is a file of DATA 'data'" in refused("predict", data="data", output=Path("linked/out.csv"))
    assert "is a file of MODEL 'model'" in refused("search", output=Path("model/config.json"))
    assert "is MODEL" in refused("fit", output=Path("model"))
    assert "the same file" in refused("audit", output=Path("new.csv"), page=Path("model/../new.csv"))


def test_what_is_no_input_may_be_written(place: Path) -> None:
    assert refused("predict", data="data", output=Path("data/new.csv")) == ""
    assert refused("predict", output=Path("out.csv"), label="x", selected_rows=None) == ""
    assert refused("embed", output=Path("model/v.parquet")) == ""  # beside a model, not of it
    assert refused("probe", output=Path()) == ""
    assert refused("generate", data="data", output=Path()) == ""  # holds folders only
    assert refused("audit", decisions=Path("data/out.csv"), output=Path("data/out.csv")) == ""
    assert refused("embed", data="data", pseudonymise="data/out.csv") == ""  # its keys from an earlier time
    assert refused("embed", data="n" * 5000, output=Path("n" * 5000)) == ""


def test_commands_refuse_before_they_work(toys: None, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(place / "m")
    for words in (
        ["predict", "m", "in.csv", "-o", "soft.csv", "--overwrite"],
        ["embed", "m", "in.csv", "-o", "x.parquet", "--pseudonymise", "hard.csv"],
        ["search", "m/model", "in.csv", "-o", "in.csv"],
        ["index", "in.csv", "-o", "./in.csv", "--overwrite"],
        ["audit", "in.csv", "-o", "in.csv", "--overwrite"],
        ["apply", "m", "in.csv", "-o", "in.csv", "--overwrite"],
        ["export", "m/model", "-o", "m/model/config.json", "--overwrite"],
    ):
        assert run(words) == 2, words
        assert "which this command reads" in capsys.readouterr().err, words
    assert (place / "in.csv").read_text() == "id,x\na,1\n"


def test_every_option_that_names_a_file_to_write_is_known() -> None:
    """Words of the help tell them: a new one that is not compared fails here."""
    commands = [load_target(target) for target, _ in COMMANDS.values()]
    commands += [entry.load() for domain in registry.default().domains()
                 for entry in registry.default().entries("command", domain)]  # fmt: skip
    found = [
        (command.name, one.opts)
        for command in commands
        for one in command.params
        if isinstance(one, click.Option) and not one.is_flag and isinstance(one.help, str)
        if one.help.startswith(("Also write", "Page", "Folder of the", "FILE.")) and "--out" not in one.opts
        if not set(one.opts) & set(OUTPUTS)
    ]
    assert found == []
