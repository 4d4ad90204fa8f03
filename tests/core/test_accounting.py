"""Every file is used, ignored or unreadable, whatever the folder looks like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repcore.data.accounting import Accounting, account_of, walk
from repcore.data.catalogue import Catalogue, CatalogueReader, Row, files_below


class TextReader(CatalogueReader[Path, str]):
    noun = "text"

    def read(self, row: Row[Path]) -> str:
        return row.source.read_text()

    def size_of(self, content: str) -> int:
        return len(content)


def _reader(root: Path, account: Accounting | None = None) -> TextReader:
    files = files_below(root, (".txt",), account=account)
    rows = [Row(path.relative_to(root).as_posix(), path, files=(path,)) for path in files]
    return TextReader(Catalogue(rows, notes=("a remark",), account=account), root)


def _write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_file_of_a_folder_has_its_fate(tmp_path: Path) -> None:
    root = tmp_path / "data"
    _write(root / "a.txt")
    _write(root / "deep" / "b.TXT")
    _write(root / "table.doc")
    _write(root / ".hidden.txt")
    _write(tmp_path / "elsewhere" / "c.txt")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "nowhere.txt").symlink_to(tmp_path / "missing.txt")
    reader = _reader(root, Accounting(root))
    assert [row.id for row in reader.rows] == ["a.txt", "deep/b.TXT", "linked/c.txt"]
    account = account_of(reader)
    assert account.counts == {"used": 3, "ignored": 3, "unreadable": 1}
    assert account.fate(root / "loop") == ("ignored", "link to a folder that is counted already")
    assert account.fate(root / "table.doc") == ("ignored", "no text for this reader (.doc)")
    assert "does not exist" in account.fate(root / "nowhere.txt")[1]
    assert "a remark" in account.sentences()
    assert not account.is_complete
    assert account.to_json()["ignored"][0]["count"] >= 1


def test_a_link_never_hides_the_folder_it_points_to(tmp_path: Path) -> None:
    _write(tmp_path / "z" / "one.txt")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    assert [one.relative_to(tmp_path).as_posix() for one in files_below(tmp_path, (".txt",))] == ["z/one.txt"]


def test_links_to_folders_above_count_no_file_twice(tmp_path: Path) -> None:
    """A link to the folder above the given one, and two links of which one leads into the other's folder."""
    root = tmp_path / "odd" / "root"
    _write(root / "one.txt")
    _write(tmp_path / "odd" / "beside.txt")
    _write(tmp_path / "far" / "d" / "two.txt")
    (root / "up").symlink_to(tmp_path / "odd")
    (root / "in").symlink_to(tmp_path / "far" / "d")
    (root / "whole").symlink_to(tmp_path / "far")
    used = [one.relative_to(root).as_posix() for one in files_below(root, (".txt",))]
    assert used == ["in/two.txt", "one.txt", "up/beside.txt"]
    left = {one.path.relative_to(root).as_posix(): one.left_out for one in walk(root) if one.left_out}
    assert left == dict.fromkeys(("up/root", "whole/d"), "folder that is counted already")


def test_unreadable_wins_over_used_and_used_over_ignored(tmp_path: Path) -> None:
    account = Accounting(tmp_path)
    account.ignore(tmp_path / "a", "no")
    account.use(tmp_path / "a", tmp_path / "b")
    account.unreadable(tmp_path / "b", "broken")
    account.use(tmp_path / "b")
    account.ignore(tmp_path / "b", "no")
    assert account.counts == {"used": 1, "ignored": 0, "unreadable": 1}


NAMES = st.text("abc. ", min_size=1, max_size=4).filter(lambda name: name.strip(". ") != "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(paths=st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=8), links=st.integers(0, 3))
def test_random_folders_keep_every_file(
    paths: list[list[str]], links: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("random")
    for number, parts in enumerate(paths):
        place = root.joinpath(*parts[:-1], f"{parts[-1]}{number}" + (".txt" if number % 2 == 0 else ".bin"))
        if not any(parent.is_file() for parent in place.parents):
            _write(place)
    for number in range(links):
        (root / f"link{number}").symlink_to(root if number else root / "missing")
    files = {Path(here) / name for here, _, names in os.walk(root) for name in names}
    entries = files | {root / f"link{number}" for number in range(links)}
    assert {one.path for one in walk(root)} == entries
    account = Accounting(root)
    account.cover(root)
    assert account.total == len(entries)
