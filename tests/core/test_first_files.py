"""A look at the first files of a folder ends early, whatever the tree."""

from __future__ import annotations

from pathlib import Path

from repcore.data.first_files import FOLDERS_LOOKED_INTO, files_below, first_files
from repcore.testing.watching import listed_below


def test_files_come_in_order_without_hidden_ones_and_links_once(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".hidden/x.txt", "b/.x.txt", "c/d/3.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "c" / "again").symlink_to(tmp_path, target_is_directory=True)
    found = [one.relative_to(tmp_path).as_posix() for one in files_below(tmp_path)]
    assert found == ["a.txt", "b/1.txt", "b/2.txt", "c/d/3.txt"]
    assert [one.name for one in first_files(tmp_path, 2)] == ["a.txt", "1.txt"]
    assert first_files(tmp_path / "a.txt") == []


def test_a_tree_without_files_is_left_early(tmp_path: Path) -> None:
    for number in range(FOLDERS_LOOKED_INTO + 50):
        (tmp_path / f"{number:04d}").mkdir()
    (tmp_path / f"{FOLDERS_LOOKED_INTO + 40:04d}" / "late.txt").touch()
    assert len(listed_below(tmp_path, lambda: first_files(tmp_path))) <= FOLDERS_LOOKED_INTO + 1
    assert first_files(tmp_path) == []
