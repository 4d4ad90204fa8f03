"""What folders and names of files say beside a table or without one: classes, published fields, and mere hints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from repcore import registry
from repcore.cli.main import root
from repcore.data.readers import open_data
from tests.field.audio_inputs import said, tone, write


def opened(path: Path, **options: Any) -> Any:
    return open_data(registry.default(), str(path), options=options)[1]


def words(reader: Any, name: str) -> dict[str, str]:
    names = next(one.names for one in reader.targets if one.name == name)
    return {row.id: names[row.targets[name]] for row in reader.rows if name in row.targets}


def sounds(*paths: Path) -> None:
    for number, path in enumerate(paths):
        write(path, tone(0.1, 200.0 + 10 * number))


@pytest.mark.parametrize("form", ["csv", "jsonl", "folder"])
def test_class_folders_beside_a_table_of_recordings_are_a_label_too(tmp_path: Path, form: str) -> None:
    names = [f"{folder}/{number}.wav" for folder in ("dog", "rain") for number in range(6)]
    sounds(*(tmp_path / name for name in names))
    pitch = {name: ("low", "mid", "high")[number % 3] for number, name in enumerate(names)}
    if form == "jsonl":
        text = "\n".join(json.dumps({"file_name": name, "pitch": word}) for name, word in pitch.items())
    else:
        text = "\n".join(["file,pitch", *(f"{name},{word}" for name, word in pitch.items())])
    table = tmp_path / ("metadata.jsonl" if form == "jsonl" else "list.csv")
    table.write_text(text, encoding="utf-8")
    reader = opened(tmp_path if form == "folder" else table)
    assert words(reader, "pitch") == pitch
    assert words(reader, "class") == {name: name.partition("/")[0] for name in names}
    assert "label 'class'" in said(reader)
    asked = opened(table, labels=["class"])
    assert [one.name for one in asked.targets] == ["class"]
    assert asked[0].targets == {"class": 0}


def test_folders_that_a_table_repeats_or_that_hold_people_are_no_class(tmp_path: Path) -> None:
    names = [f"{folder}/{number}.wav" for folder in ("dog", "rain") for number in range(6)]
    sounds(*(tmp_path / "a" / name for name in names))
    table = tmp_path / "a" / "list.csv"
    table.write_text("\n".join(["file,kind", *(f"{name},{name[0].upper()}" for name in names)]))
    assert [one.name for one in opened(table).targets] == ["kind"]
    people = [f"speakers/{who}/{number}.wav" for who in ("anna", "ben", "cleo") for number in range(4)]
    sounds(*(tmp_path / "b" / name for name in people))
    table = tmp_path / "b" / "list.csv"
    table.write_text("\n".join(["file,kind", *(f"{name},{'xy'[place % 2]}" for place, name in enumerate(people))]))
    reader = opened(table)
    assert [one.name for one in reader.targets] == ["kind"]
    assert reader.groups == [name.split("/")[1] for name in people]


def test_a_column_called_class_leaves_the_folders_another_name(tmp_path: Path) -> None:
    names = [f"{folder}/{number}.wav" for folder in ("dog", "rain") for number in range(6)]
    sounds(*(tmp_path / name for name in names))
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["file,class", *(f"{name},{'uvw'[place % 3]}" for place, name in enumerate(names))]))
    reader = opened(table)
    assert sorted(one.name for one in reader.targets) == ["class", "folder"]
    assert words(reader, "folder")["rain/0.wav"] == "rain"
    assert words(reader, "class")["rain/0.wav"] == "u"


RAVDESS = [
    f"03-01-{emotion:02d}-01-0{1 + actor % 2}-01-{actor:02d}.wav" for emotion in (3, 4, 5) for actor in (1, 2, 3)
]


@pytest.mark.parametrize("layout", ["flat", "actors", "table"])
def test_documented_fields_of_names_are_labels_and_groups(tmp_path: Path, layout: str) -> None:
    places = [f"Actor_{name[18:20]}/{name}" if layout == "actors" else name for name in RAVDESS]
    sounds(*(tmp_path / name for name in places))
    if layout == "table":
        lines = [f"{name},{number % 2}" for number, name in enumerate(places)]
        (tmp_path / "list.csv").write_text("\n".join(["file,noisy", *lines]))
    reader = opened(tmp_path / "list.csv" if layout == "table" else tmp_path)
    found = words(reader, "emotion")
    meant = {"3": "happy", "4": "sad", "5": "angry"}
    assert found == {place: meant[name[7]] for place, name in zip(places, RAVDESS, strict=True)}
    assert sorted(set(words(reader, "statement").values())) == ["dogs", "kids"]
    assert {one.name for one in reader.targets} - {"noisy"} == {"emotion", "statement"}
    assert sorted(set(reader.groups)) == ["actor_01", "actor_02", "actor_03"]
    assert "RAVDESS" in said(reader) or layout == "table"


@pytest.mark.parametrize("odd", ["03-01-09-01-01-01-01.wav", "03-01-03-01-01-01-25.wav", "note.wav"])
def test_where_one_name_does_not_follow_nothing_is_guessed(tmp_path: Path, odd: str) -> None:
    sounds(*(tmp_path / name for name in [*RAVDESS, odd]))
    reader = opened(tmp_path)
    assert not reader.targets
    assert "RAVDESS" not in said(reader)


@pytest.mark.parametrize(
    ("names", "label", "classes"),
    [
        ([f"10{n:02d}_DFA_{word}_XX" for n in range(1, 4) for word in ("ANG", "SAD")], "emotion", ("anger", "sadness")),
        ([f"{who}a0{text}{word}a" for who in ("03", "08") for text in "12" for word in "WN"], "emotion",
         ("anger", "neutral")),
    ],
)  # fmt: skip
def test_names_of_other_published_sets(tmp_path: Path, names: list[str], label: str, classes: tuple[str, ...]) -> None:
    sounds(*(tmp_path / f"{name}.wav" for name in names))
    reader = opened(tmp_path)
    assert next(one.names for one in reader.targets if one.name == label) == classes
    assert len(set(reader.groups)) == len({name[:2] if len(names) == 8 else name[:4] for name in names})


def planted(path: Path, domain: str, stem: str, number: int) -> None:
    path.mkdir(exist_ok=True)
    rng = np.random.default_rng(number)
    if domain == "audio":
        sounds(path / f"{stem}.wav")
    elif domain == "medical3d":
        Image.fromarray(rng.integers(0, 255, (16, 16)).astype(np.uint8)).save(path / f"{stem}.png")
    elif domain == "pointcloud":
        np.savetxt(path / f"{stem}.xyz", rng.uniform(-1, 1, (200, 3)))
    else:
        lines = [f"{step * 0.1:.1f},{a:.4f},{b:.4f}" for step, (a, b) in enumerate(rng.normal(size=(20, 2)))]
        (path / f"{stem}.csv").write_text("\n".join(["t,ax,ay", *lines]))


@pytest.mark.parametrize("form", ["{word}-{number:03d}", "{word}{number}", "{number:03d}_{word}", "{word}.{number}"])
@pytest.mark.parametrize("domain", ["audio", "medical3d", "pointcloud", "timeseries"])
def test_words_in_names_are_said_and_never_labels(tmp_path: Path, domain: str, form: str) -> None:
    for word in ("dog_bark", "rain", "siren"):
        for number in range(1, 5):
            planted(tmp_path / "set", domain, form.format(word=word, number=number), number)
    reader = opened(tmp_path / "set")
    assert not any(getattr(one, "level", "item") == "item" and "rain" in one.names for one in reader.targets)
    assert "they may hold 3 classes (dog_bark 4, rain 4, siren 4)" in said(reader)
    shown = CliRunner().invoke(root, ["inspect", str(tmp_path / "set")]).output
    assert "they may hold 3 classes" in shown


@pytest.mark.parametrize(
    "stems", [["take1", "take2", "take3", "take4"], ["s1_1", "s1_2", "s2_1", "s2_2"], list("abcd")]
)
def test_numbers_people_and_single_words_are_no_hint(tmp_path: Path, stems: list[str]) -> None:
    sounds(*(tmp_path / f"{stem}.wav" for stem in stems))
    assert "they may hold" not in said(opened(tmp_path))
