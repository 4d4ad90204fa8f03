"""Reading config files and overrides: none of YAML 1.1's guesses, clear errors, lines kept."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repcore.config.yaml import MOST_BYTES, Unquoted, coerce, load_file, parse_override
from repcore.errors import ConfigError
from repcore.files import read_json_file


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("1e-4", float, 1e-4),  # YAML 1.1: text
        ("1E6", float, 1e6),
        ("1_000", int, 1000),
        ("010", int, 10),  # YAML 1.1: 8
        ("010", str, "010"),
        ("0x10", str, "0x10"),  # YAML 1.1: 16
        ("12:30:45", str, "12:30:45"),  # YAML 1.1: 45045
        ("no", str, "no"),  # YAML 1.1: False
        ("no", bool, False),
        ("Yes", bool, True),
        ("on", str, "on"),
        ("off", bool, False),
        ("true", str, "true"),
        ("null", str, "null"),
        ("null", str | None, None),
        ("~", int | None, None),
        ("none", int | None, None),
        ("2024-01-31", str, "2024-01-31"),  # YAML 1.1: a date
        ("3", float, 3.0),
        (".5", float, 0.5),
        ("5.", float, 5.0),
        ("-.inf", float, -math.inf),
        ("inf", float, math.inf),
        ("3", int | float, 3),
        ("3.5", int | str, "3.5"),
        ("NO", Literal["NO", "SE"], "NO"),  # Norway
        ("2", Literal[1, 2], 2),
        ("true", Literal[True, "auto"], True),
        ("auto", int | Literal["auto"], "auto"),
        ("7", Any, 7),
        ("1.5", Any, 1.5),
        ("yes", Any, True),
        ("word", Any, "word"),
        ("", int | None, None),
    ],
)
def test_a_scalar_is_read_as_its_field_wants_it(text: str, annotation: Any, value: Any) -> None:
    found = coerce(Unquoted(text), annotation)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("3.5", int),
        ("yes", int),
        ("1", bool),
        ("true", float),
        ("abc", float),
        ("1e", float),
        ("--3", int),
        ("1__0", int),
    ],
)
def test_what_does_not_fit_keeps_the_users_words(text: str, annotation: Any) -> None:
    assert coerce(Unquoted(text), annotation) == text


def test_quoted_scalars_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("a: '1e-4'\nb: \"no\"\nc: 1e-4\nd: |\n  12\n")
    read = load_file(path)
    assert [coerce(read[key], float) for key in "ab"] == ["1e-4", "no"]
    assert coerce(read["c"], float) == 1e-4
    assert coerce(read["d"], int) == "12\n"


def test_lines_of_scalars_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("# comment\ntrainer:\n  steps: 10\n\n  seed: 3\n")
    read = load_file(path)
    assert (read["trainer"]["steps"].line, read["trainer"]["seed"].line) == (3, 5)


def test_nested_collections(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("betas: [0.9, 1e-3]\nsizes: [1, 2]\nnames: {a: 1e-2, b: no}\n")
    read = load_file(path)
    assert coerce(read["betas"], tuple[float, float]) == [0.9, 1e-3]
    assert coerce(read["sizes"], tuple[int, ...]) == [1, 2]
    assert coerce(read["sizes"], list[str] | None) == ["1", "2"]
    assert coerce(read["names"], dict[str, float | str]) == {"a": 1e-2, "b": "no"}


def test_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"trainer": {"steps": 10, "epochs": null}, "name": "x"}')
    read = load_file(path)
    assert coerce(read["trainer"]["steps"], int) == 10
    assert coerce(read["trainer"]["epochs"], float | None) is None
    assert read["name"] == "x"


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "---\n"])
def test_an_empty_file_changes_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert load_file(path) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- a\n- b\n", "is not a mapping"),
        ("just words\n", "is not a mapping"),
        ("a: [1, 2\n", "is not valid YAML"),
        ("a: 1\n\tb: 2\n", "is not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "key 'a' stands twice"),
        ("a: &x 1\nb: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    ],
)
def test_bad_files_say_what_is_wrong(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words) as raised:
        load_file(path)
    assert "run.yaml" in str(raised.value)


def test_a_doubled_key_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("trainer:\n  seed: 1\n  seed: 2\n")
    with pytest.raises(ConfigError, match=r"run.yaml:3"):
        load_file(path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_file(tmp_path / "lost.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_file(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_file(tmp_path)


def test_a_pipe_a_device_and_an_endless_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe was waited for, and ``/dev/zero`` read until the memory ended."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"pipe' is a named pipe, no file"):
        load_file(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="'/dev/zero' is a character device, no file"):
        load_file(Path("/dev/zero"))
    with pytest.raises(ValueError, match="it is a character device"):
        read_json_file(Path("/dev/zero"))
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a: 1\n" + b"#" * MOST_BYTES)
    with pytest.raises(ConfigError, match=r"large.yaml' has more than 8,388,608 bytes"):
        load_file(large)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("trainer.steps=100", "trainer.steps", "100"),
        (" trainer.steps = 100 ", "trainer.steps", "100"),
        ("data.path=a=b", "data.path", "a=b"),
        ("x=", "x", ""),
        ("x=[1, 2]", "x", ["1", "2"]),
        ("x={a: 1}", "x", {"a": "1"}),
        ("x='no'", "x", "no"),
    ],
)
def test_overrides(text: str, key: str, value: Any) -> None:
    assert parse_override(text) == (key, value)


@pytest.mark.parametrize("text", ["trainer.steps", "=3", "a..b=1", ".a=1", "x=[1", "x={a"])
def test_bad_overrides_are_named(text: str) -> None:
    with pytest.raises(ConfigError, match="override") as raised:
        parse_override(text)
    assert text in str(raised.value)


@given(st.integers(-(10**12), 10**12))
def test_integers_come_through(number: int) -> None:
    assert coerce(parse_override(f"k={number}")[1], int) == number


@given(st.floats(allow_nan=False))
def test_floats_come_through(number: float) -> None:
    assert coerce(parse_override(f"k={number!r}")[1], float) == number


@given(st.sampled_from(["yes", "no", "on", "1e3", "007", "null", "12:30", "0o7", "1_0", "~", "true", ".5"]))
def test_text_fields_never_change_a_word(word: str) -> None:
    assert coerce(parse_override(f"k={word}")[1], str) == word
