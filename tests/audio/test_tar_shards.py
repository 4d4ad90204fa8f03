"""Recordings and point clouds in tar archives, as WebDataset writes them, read through the readers of single files."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repcore.data.readers import open_data
from repcore.errors import DataError, ItemError
from repcore.registry import default

RATE = 16_000
WORDS = ("bell", "rain")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPCORE_CACHE", str(tmp_path / "cache"))


def sound(number: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(number).standard_normal(800 + 10 * number).astype(np.float32)


def wav(number: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(number), RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def npy(number: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(number).standard_normal((64, 3)).astype(np.float32))
    return file.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def shards(folder: Path, names: tuple[str, ...] = ("train-00000.tar", "train-00001.tar", "test-00000.tar")) -> Path:
    folder.mkdir()
    for shard, name in enumerate(names):
        with tarfile.open(folder / name, "w") as archive:
            for number in range(4 * shard, 4 * shard + 4):
                key = f"some/where/{number:06}"
                add(archive, f"{key}.wav", wav(number))
                add(archive, f"{key}.cls", WORDS[number % 2].encode())
                add(archive, f"{key}.json", json.dumps({"speaker": f"s{number // 2}", "loudness": number / 7}).encode())
            folder_member = tarfile.TarInfo("some/folder")
            folder_member.type = tarfile.DIRTYPE
            archive.addfile(folder_member)
    return folder


def test_rows_labels_groups_and_parts(tmp_path: Path) -> None:
    part, reader = open_data(default(), str(shards(tmp_path / "tars")), domain="audio")
    assert part.name == "audio/folder"
    assert len(reader) == 12
    order = [8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]  # test comes before train
    for row in (0, 5, 11):
        sample = reader[row]
        number = order[row]
        np.testing.assert_array_equal(sample.inputs.samples[0], sound(number))
        shard = "test-00000" if number > 7 else f"train-0000{number // 4}"
        assert sample.id == f"{shard}/some/where/{number:06}"
        assert sample.targets["cls"] == number % 2
        assert sample.targets["loudness"] == pytest.approx(number / 7)
        assert sample.group == f"s{number // 2}"
        np.testing.assert_array_equal(reader.by_id(sample.id).inputs.samples[0], sound(number))
    parts = {name: list(rows) for name, rows in reader.splits.items()}
    assert parts == {"train": list(range(4, 12)), "test": [0, 1, 2, 3]}
    assert next(one for one in reader.targets if one.name == "cls").names == WORDS
    assert pickle.loads(pickle.dumps(reader))[3].id == reader[3].id


def test_the_index_has_eight_bytes_a_row_and_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(tmp_path / "tars")
    first = open_data(default(), str(folder), domain="audio")[1]
    (places,) = (tmp_path / "cache" / "shards").rglob("places.raw")
    assert places.stat().st_size == 8 * 12
    monkeypatch.setattr("repcore.data.shards.tar_rows._scanned", lambda *_: pytest.fail("scanned again"))
    again = open_data(default(), str(folder), domain="audio")[1]
    assert again.fingerprint == first.fingerprint


def test_a_byte_of_content_changes_the_fingerprint_a_copy_does_not(tmp_path: Path) -> None:
    path = shards(tmp_path / "tars", ("a.tar",)) / "a.tar"
    first = open_data(default(), str(path), domain="audio")[1].fingerprint
    (tmp_path / "copy").mkdir()
    shutil.copy(path, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "a.tar", (1, 1))
    assert open_data(default(), str(tmp_path / "copy" / "a.tar"), domain="audio")[1].fingerprint == first
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[1000] ^= 1  # of the samples of the first member: no header knows
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = open_data(default(), str(path), domain="audio")[1]
    assert changed.fingerprint != first
    assert not np.array_equal(changed[0].inputs.samples[0], sound(0))


def repacked(path: Path, target: Path, edit: Callable[[str, bytes], bytes] = lambda _, content: content) -> Path:
    """The same members in an archive of another form, with other times and owners."""
    target.parent.mkdir()
    with tarfile.open(path) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            content = edit(member.name, old.extractfile(member).read()) if member.isreg() else b""  # type: ignore[union-attr]
            member.mtime, member.uid, member.mode, member.size = 1.5e9 + 0.25, 77, 0o600, len(content)
            new.addfile(member, io.BytesIO(content))
        add(new, "some/.hidden", b"no row")
    return target


def test_an_archive_that_is_packed_anew_is_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shards(tmp_path / "tars", ("a.tar",)) / "a.tar"
    reader = open_data(default(), str(path), domain="audio")[1]
    first = reader.fingerprint
    other = repacked(path, tmp_path / "again" / "a.tar")
    assert other.read_bytes() != path.read_bytes()
    assert open_data(default(), str(other), domain="audio")[1].fingerprint == first
    with monkeypatch.context() as patch:
        patch.setattr("repcore.data.shards.tar_rows._members_hash", lambda *_: pytest.fail("read again"))
        assert open_data(default(), str(path), domain="audio")[1].fingerprint == first
    edits: list[Callable[[str, bytes], bytes]] = [
        lambda name, content: content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("000002.wav") else content,
        lambda name, content: b"snow" if name.endswith("000003.cls") else content,
        lambda name, content: content + b" " if name.endswith("000001.json") else content,
    ]
    found = {first}
    for number, edit in enumerate(edits):
        changed = repacked(path, tmp_path / f"edited{number}" / "a.tar", edit)
        found.add(open_data(default(), str(changed), domain="audio")[1].fingerprint)
    renamed = repacked(path, tmp_path / "named" / "b.tar")
    found.add(open_data(default(), str(renamed), domain="audio")[1].fingerprint)
    assert len(found) == 2 + len(edits), "a byte of any member counts, and the name that ids begin with"
    monkeypatch.setenv("REPCORE_HASH_LIMIT", "0.0000001")
    assert open_data(default(), str(other), domain="audio")[1].fingerprint != first, "known by size and time"


def header(name: bytes, size: int, kind: bytes = b"0", real: int | None = None) -> bytes:
    """A GNU header as bytes, also such as no writer makes."""
    block = bytearray(512)
    block[: len(name)], block[100:108], block[156:157], block[257:265] = name, b"0000644\0", kind, b"ustar  \0"
    block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[136:148] = b"00000000000\0"
    if real is not None:  # a sparse file: one piece of `size` bytes at its beginning
        block[386:410] = b"%011o\0%011o\0" % (0, size)
        block[483:495] = b"\x80" + real.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def stored(name: bytes, content: bytes, **facts: object) -> bytes:
    return header(name, len(content), **facts) + content + b"\0" * (-len(content) % 512)  # type: ignore[arg-type]


END = b"\0" * 1024


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header(b"y.wav", 2**62) + b"x" * 512, "y.wav announces 4,611,686,018,427,387,904 bytes"),
        (header(b"././@LongLink", 2**62, b"L") + b"a" * 512, "a header announces a name"),
        (stored(b"././@LongLink", b"abc\0", kind=b"L") * 3000, "too many headers"),
        (END + stored(b"y.wav", wav(1)), "more follows its end after x"),
    ],
    ids=["size", "long-name", "chain", "joined"],
)
def test_archives_made_to_break_a_reader(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.tar").write_bytes(stored(b"x.wav", wav(0)) + content + END)
    with pytest.raises(DataError, match=f"^a.tar of .* is no whole tar archive: .*{words}"):
        open_data(default(), str(tmp_path / "a.tar"), domain="audio")


def test_rows_that_cannot_be_one_sample_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = stored(b"y.wav", wav(1)) * 2
    sparse = stored(b"z.wav", wav(2)[:512], kind=b"S", real=2**40)
    broken = stored(b"w.wav", b"RIFF nothing")
    (tmp_path / "a.tar").write_bytes(stored(b"x.wav", wav(0)) + twice + broken + sparse + END)  # a sparse one is last
    monkeypatch.setenv("REPCORE_ITEM_MIB", "64")
    reader = open_data(default(), str(tmp_path / "a.tar"), domain="audio")[1]
    np.testing.assert_array_equal(reader[0].inputs.samples[0], sound(0))
    with pytest.raises(ItemError, match=r"^duplicate_member: y of a\.tar has two members \.wav"):
        reader[1]
    with pytest.raises(ItemError, match=r"^too_large: a\.tar: the members of z announces 1,048,576 MiB"):
        reader[3]
    with pytest.raises(DataError) as caught:
        reader[2]
    assert str(tmp_path / "cache") not in str(caught.value)


def test_a_member_with_several_rows_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "one.csv", b"smiles\nCCO\n")
        add(archive, "many.csv", b"smiles\nCCO\nCCN\n")
        add(archive, "bad.csv", b"")
    reader = open_data(default(), str(tmp_path / "a.tar"), domain="molecules")[1]
    assert reader[0].id == "a/one"
    with pytest.raises(DataError) as caught:
        reader[2]
    assert "bad.csv of a.tar" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ItemError, match=r"^several_rows: many\.csv of a\.tar holds 2 rows"):
        reader[1]


def test_a_key_that_comes_again_has_an_id_of_its_own(tmp_path: Path) -> None:
    content = b"".join(stored(name, wav(number)) for number, name in enumerate([b"x.wav", b"y.wav", b"x.wav"]))
    (tmp_path / "a.tar").write_bytes(content + END)
    reader = open_data(default(), str(tmp_path / "a.tar"), domain="audio")[1]
    assert [reader.id_of(row) for row in range(3)] == ["a/x", "a/y", "a/x#2"] == [reader[row].id for row in range(3)]
    np.testing.assert_array_equal(reader.by_id("a/x#2").inputs.samples[0], sound(2))
    assert any("1 rows have a key that came before" in note for note in reader.account.notes)


def test_one_archive_and_another_domain(tmp_path: Path) -> None:
    path = tmp_path / "clouds.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(3):
            add(archive, f"{number}.npy", npy(number))
    _, reader = open_data(default(), str(path), domain="pointcloud")
    assert [reader.id_of(row) for row in range(3)] == ["clouds/0", "clouds/1", "clouds/2"]
    wanted = np.load(io.BytesIO(npy(1)))
    np.testing.assert_array_equal(reader[1].inputs.points, wanted)
    assert not reader.targets


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    folder = shards(tmp_path / "tars", ("a.tar", "b.tar"))
    whole = (folder / "b.tar").read_bytes()
    with tarfile.open(folder / "b.tar") as archive:
        ends = [one.offset for one in archive][5]
    for content in (whole[: len(whole) // 2], b"\x1f\x8b" + whole[2:], whole[:ends], whole[:ends] + b"x" * 1024):
        (folder / "b.tar").write_bytes(content)
        with pytest.raises(DataError, match=r"^b\.tar of .* is no whole tar archive: .+"):
            open_data(default(), str(folder), domain="audio")
    with tarfile.open(folder / "b.tar", "w") as archive:
        add(archive, "x.txt", b"no sound")
        add(archive, "../../y.wav", wav(1))
    reader = open_data(default(), str(folder), domain="audio")[1]
    with pytest.raises(ItemError, match=r"x of b\.tar has no \.wav"):
        reader[4]
    np.testing.assert_array_equal(reader[5].inputs.samples[0], sound(1))
    assert not (tmp_path.parent / "y.wav").exists()
    with pytest.raises(DataError, match="no label 'mood'"):
        open_data(default(), str(folder), domain="audio", options={"labels": ["mood"]})
