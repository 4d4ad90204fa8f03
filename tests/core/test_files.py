"""Reading the JSON objects that belong to a model: every way to be damaged has its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from repcore.errors import CheckpointError
from repcore.files import entries_of, read_object, storable, write_text


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
