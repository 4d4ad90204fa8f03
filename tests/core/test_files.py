"""Reading the JSON objects that belong to a model: every way to be damaged has its words."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch

from repcore.checkpoints.content import write_tensors
from repcore.errors import CheckpointError
from repcore.files import as_strict, entries_of, read_figures, read_object, storable, write_text, written_whole
from repcore.training.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no state.json in"),
        ("{", "cannot be read as JSON"),
        ("\xff", "cannot be read as JSON"),
        ("[1, 2]", "holds a list, no JSON object"),
        ('{"mean": 0}', "lacks deviation, count"),
    ],
)
def test_damage_is_named_with_what_the_caller_adds(text: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=words) as caught:
        read_object(path, ("mean", "deviation", "count"), hint="train again")
    assert str(tmp_path) in str(caught.value)
    assert caught.value.facts["hint"] == "train again"


def test_an_object_may_hold_more_than_it_has_to(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"mean": 0, "note": "é"}', encoding="utf-8")
    assert read_object(tmp_path / "state.json", ("mean",)) == {"mean": 0, "note": "é"}


def test_bytes_that_are_no_text_become_escapes(tmp_path: Path) -> None:
    assert storable("name\udcff") == "name\\xff"
    assert storable("é \ud800") == "é \\ud800"
    write_text(tmp_path / "a", "name\udcff")
    assert (tmp_path / "a").read_text() == "name\\udcff"


def test_what_systems_leave_in_folders_is_no_entry(tmp_path: Path) -> None:
    left = ("._a.bin", ".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "a.bin~", ".a.bin.swp", "~$a.docx", "#a#",
            ".nfs00ff", "__MACOSX", "lost+found", ".~lock.a.csv#", "@eaDir", "Icon\r")  # fmt: skip
    own = ("a.bin", ".hidden", "b.swp", "thumbs.csv", "_._x", "a~b", "nfs00")
    for name in (*left, *own):
        (tmp_path / name).touch()
    assert [one.name for one in entries_of(tmp_path)] == sorted(own)


@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_every_file_has_the_rights_of_the_umask(mask: int, rights: int, tmp_path: Path) -> None:
    """safetensors and others write through a temporary file that its owner alone may read."""
    before = os.umask(mask)
    try:
        write_tensors(tmp_path / "a", {"x": torch.ones(2)}, {"format": "pt"})
        write_tensors(tmp_path / "b", {"x": torch.ones(2)}, {})
        write_text(tmp_path / "c", "text")
        with written_whole(tmp_path / "d") as partial:
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in entries_of(tmp_path)} == dict.fromkeys("abcd", rights)


def test_tensors_are_written_in_two_places_only() -> None:
    """Both give their file the rights of others."""
    sources = [*(ROOT / "core" / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]
    writing = {
        path.relative_to(ROOT).as_posix() for path in sources if "save_file(" in path.read_text(encoding="utf-8")
    }
    assert {path.removeprefix("core/src/repcore/") for path in writing} == {
        "checkpoints/content.py",
        "estimation/folder.py",
    }


def test_json_holds_no_number_that_strict_readers_refuse(tmp_path: Path) -> None:
    record = {"loss": math.nan, "parts": [math.inf, 1.5, {"x": -math.inf}], "name": "NaN"}
    assert as_strict(record) == {"loss": None, "parts": [None, 1.5, {"x": None}], "name": "NaN"}
    run = RunFolder(tmp_path)
    run.append_lines("metrics.jsonl", [{"step": 1, **record}])
    run.write_json("diagnostics.json", record)
    for name in ("metrics.jsonl", "diagnostics.json"):
        json.loads((tmp_path / name).read_text(), parse_constant=pytest.fail)
    (figures,) = read_figures(tmp_path / "metrics.jsonl")
    assert math.isnan(figures["loss"])
    assert figures["step"] == 1
