"""First bytes of files: what contradicts a name, and JSON of any size for sniffers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from repcore.data import headers


@pytest.mark.parametrize(
    ("name", "content", "is_wrong"),
    [
        ("a.wav", b"RIFF....WAVEfmt ", False), ("a.wav", b"\x00\x01\x02random", True),
        ("a.WAV", b"fLaC", False),  # decoders look at the content, and people rename files
        ("a.mp3", b"\xff\xe3\x18", False), ("a.mp3", b"<html>", True), ("a.wav", b"", False),
        ("a.png", b"\x89PNG\r\n\x1a\n", False), ("a.png", b"GIF89a", False), ("a.png", b"RIFF....WAVE", True),
        ("a.jpeg", b"\xff\xd8\xff\xe0", False), ("a.jpg", b"\x89PNG", False), ("a.jpg", b"%PDF", True),
        ("a.csv", b"a,b\n1,2\n", False), ("a.csv", "ü;ß\n".encode("utf-16"), False), ("a.csv", b"\x00\x01\x02", True),
        ("a.csv", "täble;ä\n".encode("latin-1"), False), ("a.csv", b"smiles,y\nC\0C,1\nCC,2\n", False),
        ("a.csv", bytes(200), True), ("a.npy", b"\x93NUMPY", False), ("a.npy", b"PK\x03\x04", True),
        ("a.nii.gz", b"\x1f\x8b\x08", False), ("a.nii.gz", b"nothing", True), ("a.h5", b"\x89HDF\r\n\x1a\n", False),
        ("a.unknown", b"\x00\x01", False), ("a.off", b"off\n3 1 0\n", False), ("a.off", b"CNOFF\n", False),
        ("a.off", b"official\n", True), ("a.off", b"OFF40 30 0\n", False),
        ("a.ply", b"PLY\r\n", False), ("a.ply", b"plywood", True),
        ("a.dcm", b"\x08\0\x05\0CS\x0a\0ISO_IR 100", False), ("a.dcm", bytes(128) + b"DICM", False),
        ("a.dcm", bytes(200), True), ("a.mha", b"Comment = x\nObjectType = Image\n", False), ("a.mha", b"text", True),
    ],
)  # fmt: skip
def test_names_that_lie(name: str, content: bytes, is_wrong: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert headers.contradicts(tmp_path / name) is is_wrong
    assert headers.contradicts(tmp_path) is is_wrong


def test_a_folder_contradicts_only_if_all_of_it_does(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"\x00" * 40)
    assert headers.contradicts(tmp_path)
    (tmp_path / "good.wav").write_bytes(b"RIFF" + bytes(40))
    assert not headers.contradicts(tmp_path)


def test_numpy_writes_what_is_expected(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    assert not any(headers.contradicts(tmp_path / name) for name in ("a.npy", "b.npz"))


def test_a_large_text_is_judged_by_its_first_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    with headers.shortened(path) as seen:
        assert seen == path
    monkeypatch.setattr(headers, "LARGE_TEXT", 5)
    monkeypatch.setattr(headers, "SHORT_TEXT", 10)
    with headers.shortened(path) as seen:
        assert (seen.name, seen.read_text()) == ("rows.csv", "a,b\n1,2\n")
    assert not seen.exists()


def test_json_small_large_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"training": [{"image": "x"}], "name": "set"}))
    assert headers.json_at(path)["name"] == "set"
    monkeypatch.setattr(headers, "SMALL_JSON", 10)
    assert headers.json_at(path)["training"] == []  # names only
    path.write_text("[1, 2, 3, 4, 5, 6, 7, 8]")
    assert headers.json_at(path) is None
    monkeypatch.undo()
    path.write_text("{no json")
    assert headers.json_at(path) is None
    assert headers.json_at(tmp_path / "gone.json") is None
