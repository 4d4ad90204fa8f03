"""What holds in every domain: `inspect` says what is wrong and proposes what runs; names stay names however stored."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import soundfile

from repcore import registry
from repcore.cli.main import run
from repcore.data.guard import row_id
from repcore.data.readers import open_data
from tests.field.audio_inputs import tone, write

SMILES = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl", "OCCO", "CC(C)O", "c1ccncc1", "CCOC"]
DECOMPOSED = unicodedata.normalize("NFD", "é")


def molecules(folder: Path) -> Path:
    """A German export: byte order mark, semicolons, decimal commas, one broken molecule, one twice."""
    rows = [f"{one};{number},5" for number, one in enumerate([*SMILES, "CCO", "C1CC"])]
    (folder / "m.csv").write_text("smiles;y\r\n" + "\r\n".join(rows) + "\r\n", encoding="utf-8-sig")
    return folder / "m.csv"


def graphs(folder: Path) -> Path:
    """One large graph; its percentages are no numbers."""
    lines = [f"n{one},n{(one * step + 1) % 40},{one}.{step}%" for one in range(40) for step in (1, 7)]
    (folder / "g.csv").write_text("source,target,share\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder / "g.csv"


def audio(folder: Path) -> Path:
    """Two classes; a recording that is cut off, a silent one, one in both parts of the split."""
    for part in ("train", "test"):
        for number in range(3):
            write(folder / "a" / part / "dog" / f"{part}{number}.wav", tone(seed=number + 7 * (part == "test")))
            write(folder / "a" / part / "cat" / f"{part}{number}.wav", tone(hertz=700, seed=number + 30 * len(part)))
    write(folder / "a" / "test" / "dog" / "copy.wav", tone(seed=0))
    write(folder / "a" / "train" / "cat" / "silent.wav", np.zeros(8000, np.float32))
    whole = (folder / "a" / "train" / "cat" / "train0.wav").read_bytes()
    (folder / "a" / "train" / "cat" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    return folder / "a"


def medical3d(folder: Path) -> Path:
    """Scans, a mask without a scan, a file that is cut off, values without their header."""
    (folder / "m").mkdir()
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 200, (20, 22, 18)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "m" / f"case{number}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones((20, 22, 18), np.uint8), np.eye(4)), folder / "m" / "other_seg.nii.gz")
    whole = (folder / "m" / "case0.nii.gz").read_bytes()
    (folder / "m" / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "m" / "lost.img").write_bytes(bytes(900))
    return folder / "m"


def pointcloud(folder: Path) -> Path:
    """Clouds in folders of their classes; a header that promises a terabyte, an empty file."""
    for number in range(6):
        points = np.random.default_rng(number).uniform(-1, 1, (300, 3))
        place = folder / "p" / "ab"[number % 2] / f"{number}.xyz"
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(place, points, fmt="%.4f")
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 1000000000000\nproperty float x\nproperty float y\n"
    (folder / "p" / "a" / "huge.ply").write_bytes(f"{header}property float z\nend_header\n".encode() + bytes(600))
    (folder / "p" / "b" / "nothing.xyz").write_bytes(b"")
    return folder / "p"


def timeseries(folder: Path) -> Path:
    """An archive of cases, one with another number of steps in a channel, one without a value."""
    drawn = np.random.default_rng(0).normal(size=(8, 2, 30))
    cases = [":".join(",".join(f"{one:.3f}" for one in channel) for channel in case) for case in drawn]
    cases += ["1,2,3:4,5", ",".join("?" * 30) + ":" + ",".join("?" * 30)]
    lines = [f"{case}:{'ab'[number % 2]}" for number, case in enumerate(cases)]
    place = folder / "t" / "Waves_TRAIN.ts"
    place.parent.mkdir()
    place.write_text("@problemName Waves\n@dimensions 2\n@classLabel true a b\n@data\n" + "\n".join(lines) + "\n")
    return place.parent


PLANTED: dict[str, tuple[Callable[[Path], Path], dict[str, int], tuple[str, ...]]] = {
    "molecules": (molecules, {"invalid_smiles": 1}, ("1 rows repeat",)),
    "graphs": (graphs, {}, ("'share': left out", "too few to train on")),
    "audio": (audio, {"truncated": 1, "silent": 1}, ("more than one declared split",)),
    "medical3d": (medical3d, {"corrupt": 1}, ("1 of 6 files are unreadable", "1 of 6 files are ignored")),
    "pointcloud": (pointcloud, {"corrupt": 1, "empty": 1}, ("2 of 8 rows are not clean",)),
    "timeseries": (timeseries, {"malformed_case": 1, "no_value": 1}, ("2 of 10 rows are not clean",)),
}


@pytest.mark.parametrize("domain", list(PLANTED))
def test_inspect_names_what_is_wrong_and_what_it_proposes_runs(
    domain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, expected, words = PLANTED[domain]
    assert run(["inspect", str(build(tmp_path)), "--domain", domain, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found["status"].get(name, 0) for name in expected} == expected
    for word in words:
        assert any(word in warning for warning in found["warnings"]), found["warnings"]
    assert found["next"].startswith("repcore ")
    command = shlex.split(found["next"].removeprefix("repcore ").partition(" (or")[0])
    assert run([*command, "--dry-run", "trainer.steps=1"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("domain", list(PLANTED))
def test_training_and_vectors_speak_of_the_same_rows_as_inspect(
    domain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planted comes out of `train` and `embed` as it went into the table of `inspect`."""
    monkeypatch.chdir(tmp_path)
    build, expected, _ = PLANTED[domain]
    data = str(build(tmp_path))
    assert run(["inspect", data, "--domain", domain, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    command = shlex.split(found["next"].removeprefix("repcore ").partition(" (or")[0])
    small = ["trainer.steps=1", "data.validation_limit=2", "--out", "runs", "--name", "one"]
    assert run([*command, *small]) == 0, capsys.readouterr().err
    reader = ["--reader", found["reader"]] if "--reader" not in command else command[command.index("--reader") :][:2]
    capsys.readouterr()
    assert run(["embed", "runs/one/model", data, "-o", "vectors.parquet", "--json", *reader]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out[out.index("{") :])
    assert {name: record["status"].get(name, 0) for name in expected} == expected
    assert "unexpected" not in err
    if "--reader" not in command:
        assert record["rows_in"] == found["rows"]
        assert record["status"] == found["status"]


def test_too_little_is_not_sent_to_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a b" / "one.wav")
    assert run(["inspect", str(tmp_path / "a b"), "--domain", "audio", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["next"]
    assert told.startswith("more data (1 usable row is too few to train on); to embed it: repcore embed MODEL '")


def dry_run(domain: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `inspect` proposes for a folder builds and counts its rows."""
    capsys.readouterr()
    assert run(["inspect", str(path), "--domain", domain, "--json"]) == 0
    command = shlex.split(json.loads(capsys.readouterr().out)["next"].removeprefix("repcore ").partition(" (or")[0])
    assert run([*command, "--dry-run", "trainer.steps=1"]) == 0, capsys.readouterr().err
    assert "unexpected" not in capsys.readouterr().err


def _clip(path: Path) -> None:
    write(path, tone(seed=len(str(path))))


def _cloud(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.random.default_rng(len(str(path))).uniform(-1, 1, (300, 3)), fmt="%.4f")


def _film(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(path))).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(values).save(path)


FILES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "audio": (_clip, ".wav", "class"),
    "pointcloud": (_cloud, ".xyz", "class"),
    "medical3d": (_film, ".png", "folder"),
}


@pytest.mark.parametrize("domain", list(FILES))
def test_a_class_is_one_however_its_accents_are_stored(
    domain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, suffix, label = FILES[domain]
    for folder in ("é", DECOMPOSED, "x"):
        for number in range(4):
            make(tmp_path / folder / f"{number}{len(folder)}{suffix}")
    _, reader = open_data(registry.default(), str(tmp_path), domain=domain)
    target: Any = next(one for one in reader.targets if one.name == label)
    assert target.names == ("x", "é")
    assert [reader[row].targets[label] for row in range(12)].count(1) == 8
    dry_run(domain, tmp_path, capsys)


def test_labels_are_found_however_names_of_files_are_written(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        write(tmp_path / f"Ré{number}.WAV", tone(seed=number), format="WAV")
        rows.append(f"r{DECOMPOSED}{number}.wav,{'ab'[number % 2]}")
    (tmp_path / "list.csv").write_text("file,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    part, reader = open_data(registry.default(), str(tmp_path), domain="audio")
    assert part.name == "audio/manifest"
    assert [reader[row].targets["label"] for row in range(6)] == [0, 1] * 3


def _odd_bytes(folder: Path, domain: str) -> Path:
    """Content that readers take, whose first bytes are not the ones that its name lets expect."""
    if domain == "molecules":  # a zero byte in one row
        rows = "".join(f"{one},{number}.5\n" for number, one in enumerate(SMILES))
        (folder / "m.csv").write_bytes(f"smiles,y\n{rows}C\0C,1\n".encode())
        return folder / "m.csv"
    if domain == "pointcloud":
        (folder / "s.off").write_text("off\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n")
        return folder / "s.off"
    if domain == "medical3d":
        for number in range(2):
            _film(folder / f"{number}.png")
            (folder / f"{number}.png").rename(folder / f"{number}.jpg")
        return folder
    soundfile.write(folder / "a.flac", tone(), 16000)
    (folder / "a.flac").rename(folder / "a.wav")
    return folder / "a.wav"


@pytest.mark.parametrize(("domain", "rows"), [("molecules", 11), ("pointcloud", 1), ("medical3d", 2), ("audio", 1)])
def test_files_are_recognised_by_what_readers_take(domain: str, rows: int, tmp_path: Path) -> None:
    _, reader = open_data(registry.default(), str(_odd_bytes(tmp_path, domain)), domain=domain)
    assert len(reader) == rows
    assert reader[0].id


def _files_with(folder: Path, make: Callable[[Path], None], suffix: str) -> Path:
    for number in range(6):
        make(folder / f"f{number}{'x' * number}{suffix}")
    rows = "".join(f"f{number}{'x' * number}{suffix};{number % 2};{PARTS[number]}\n" for number in range(6))
    (folder / "t.csv").write_text(f"file;Klasse;Menge\n{rows}", encoding="utf-8")
    return folder


PARTS = ["Training", "Training", "hold-out", "Training", "hold-out", "Training"]


@pytest.mark.parametrize("domain", ["molecules", "graphs", *FILES])
def test_parts_of_a_split_are_found_by_their_words_in_every_domain(domain: str, tmp_path: Path) -> None:
    path = tmp_path
    if domain == "molecules":
        rows = "".join(f"{SMILES[row]};{row % 2};{part}\n" for row, part in enumerate(PARTS))
        path = tmp_path / "m.csv"
        path.write_text(f"smiles;Klasse;Menge\n{rows}", encoding="utf-8")
    elif domain == "graphs":
        edges = "".join(f"{graph},{one},{one + 1}\n" for graph in range(6) for one in range(3 + graph))
        (tmp_path / "edges.csv").write_text(f"graph,source,target\n{edges}", encoding="utf-8")
        rows = "".join(f"{graph};{graph % 2};{PARTS[graph]}\n" for graph in range(6))
        (tmp_path / "graphs.csv").write_text(f"graph;Klasse;Menge\n{rows}", encoding="utf-8")
    else:
        _files_with(tmp_path, *FILES[domain][:2])
    _, reader = open_data(registry.default(), str(path), domain=domain)
    assert {name: list(rows) for name, rows in reader.splits.items()} == {"train": [0, 1, 3, 5], "test": [2, 4]}
    assert "Menge" not in [one.name for one in reader.targets]


def test_a_table_is_joined_by_names_and_never_by_class_numbers(tmp_path: Path) -> None:
    for number in range(6):
        _film(tmp_path / f"{number}.png")
    rows = "".join(f"{number:04d},{number % 2}\n" for number in range(6))
    (tmp_path / "l.csv").write_text(f"id,y\n{rows}", encoding="utf-8")
    with pytest.raises(Exception, match="names 6 files, none of which") as caught:
        open_data(registry.default(), str(tmp_path), domain="medical3d")
    assert "6 of 6 differ in leading zeros" in str(caught.value)


def test_participants_with_one_scan_each_are_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["participant_id\tage\tsex"]
    for number in range(4):
        place = tmp_path / f"sub-{number:02d}" / "anat" / f"sub-{number:02d}_T1w.nii.gz"
        place.parent.mkdir(parents=True)
        nibabel.save(
            nibabel.Nifti1Image(np.arange(5832, dtype=np.int16).reshape(18, 18, 18) + number, np.eye(4)), place
        )
        rows.append(f"{number:02d}\t{20.5 + number}\t{'MF'[number % 2]}")
    (tmp_path / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    _, reader = open_data(registry.default(), str(tmp_path), domain="medical3d")
    assert [reader[row].targets["age"] for row in range(4)] == [20.5, 21.5, 22.5, 23.5]
    dry_run("medical3d", tmp_path, capsys)


def test_common_voice_has_labels_groups_and_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "client_id\tpath\tsentence\tup_votes\tage\tgender\n"
    for number in range(9):
        write(tmp_path / "clips" / f"cv_{number}.wav", tone(seed=number))

    def lines(numbers: Any) -> str:
        return "".join(
            f'c{n // 2}\tcv_{n}.wav\tSay "{n}\t2\t{["twenties", "thirties"][n % 2]}\t{["male", ""][n % 2]}\n'
            for n in numbers
        )

    for part, numbers in (("train", range(4)), ("dev", (4, 5)), ("test", (6, 7)), ("validated", range(8))):
        (tmp_path / f"{part}.tsv").write_text(head + lines(numbers), encoding="utf-8")
    part_read, reader = open_data(registry.default(), str(tmp_path), domain="audio")
    assert part_read.name == "audio/manifest"
    ids = [reader.id_of(row) for row in range(len(reader))]  # type: ignore[attr-defined]
    assert sorted(ids) == [f"cv_{number}.wav" for number in range(8)]
    parts = {name: sorted(ids[row] for row in rows) for name, rows in reader.splits.items()}
    assert parts["validation"] == ["cv_4.wav", "cv_5.wav"]
    assert len(parts["train"]) == 4
    assert {reader[row].group for row in range(8)} == {"c0", "c1", "c2", "c3"}
    age = next(one for one in reader.targets if one.name == "age")
    assert age.names[reader[ids.index("cv_3.wav")].targets["age"]] == "thirties"
    account: Any = reader.account  # type: ignore[attr-defined]
    assert account.fate(tmp_path / "clips" / "cv_8.wav")[0] == "ignored"
    dry_run("audio", tmp_path, capsys)


def test_nothing_is_trained_on_a_declared_test_part_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{one},{number}.5,test" for number, one in enumerate(SMILES)]
    path = tmp_path / "only_test.csv"
    path.write_text("smiles,y,split\n" + "\n".join(lines) + "\n")
    command = ["molecules", "train", "selformer", "--data", str(path), "--dry-run"]
    assert run(command) == 2
    assert "all 10 rows are declared as the test part" in capsys.readouterr().err
    assert run(["inspect", str(path), "--json"]) == 0
    assert "nothing to train on" in " ".join(json.loads(capsys.readouterr().out)["warnings"])
    assert run([*command, "data.split=random"]) == 0
    said = "".join(capsys.readouterr())
    assert "9 of 9 training rows are of the declared test part" in said


def _first_file(path: Path) -> Path:
    return path if path.is_file() else min(one for one in path.rglob("*") if one.is_file())


@pytest.mark.parametrize("domain", list(PLANTED))
def test_the_same_names_with_other_content_are_another_data_set(domain: str, tmp_path: Path) -> None:
    """K5: what is cached of one folder is never taken for another with the same names of files."""
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        path = PLANTED[domain][0](tmp_path / name)
        if name == "two":  # the last byte of one file
            content = bytearray(_first_file(path).read_bytes())
            place = max(number for number, byte in enumerate(content) if byte > 32)
            content[place] = content[place] - 1 if content[place] > 48 else content[place] + 1
            _first_file(path).write_bytes(content)
        _, reader = open_data(registry.default(), str(path), domain=domain)
        found.append((reader.fingerprint, [row_id(reader, row) for row in range(len(reader))]))
    assert found[0][0] != found[1][0]
    assert [len(ids) for _, ids in found] == [len(found[0][1])] * 2


RECIPES = {
    "molecules": "selformer",
    "graphs": "masked-node",
    "audio": "ssamba",
    "medical3d": "alice",
    "pointcloud": "fac",
    "timeseries": "ts2vec",
}


@pytest.mark.parametrize("domain", list(PLANTED))
def test_data_of_another_domain_is_refused_in_words(
    domain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """K13: no recipe is given rows that it cannot take; what was found is named."""
    other = {
        "molecules": audio,
        "graphs": medical3d,
        "audio": molecules,
        "medical3d": graphs,
        "pointcloud": molecules,
        "timeseries": audio,
    }
    path = other[domain](tmp_path)
    assert run([domain, "train", RECIPES[domain], "--data", str(path), "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert "unexpected" not in said
    assert path.name in said


@pytest.mark.parametrize("domain", list(PLANTED))
def test_a_setting_that_does_not_exist_is_an_error_with_the_nearest_name(
    domain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """K14, in both ways of giving one."""
    path = str(PLANTED[domain][0](tmp_path))
    assert run(["inspect", path, "--domain", domain, "--read", "paht=x"]) == 2
    assert "path" in capsys.readouterr().err
    assert run([domain, "train", RECIPES[domain], "--data", path, "--dry-run", "trainer.stesp=1"]) == 2
    assert "try:     steps" in capsys.readouterr().err
