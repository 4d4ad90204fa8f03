"""What folders and names of recordings say of them: parts of a split, classes, fields of published names, speakers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repcore.data.accounting import Accounting
from repcore.data.catalogue import class_target, rows_by
from repcore.data.folder_classes import are_too_many, folder_meaning, stays_beside_table, tell_words_in_names
from repcore.data.groups import group_in_path, groups_in_paths
from repcore.data.splits import sibling_parts
from repcore.specs import TargetSpec
from repcore_audio.datasets.published_names import name_fields

CLASS = "class"
FOLDER = "folder"  # the classes of folders where a table has a label called class


@dataclass(slots=True)
class Told:
    """Of each of several recordings: words of labels by name, whose it is; rows of each part of a split."""

    labels: dict[str, list[str]] = field(default_factory=dict)
    groups: list[str | None] = field(default_factory=list)
    splits: dict[str, list[int]] = field(default_factory=dict)

    def targets(self) -> tuple[list[TargetSpec], list[dict[str, Any]]]:
        """The labels, and their values of each recording."""
        values: list[dict[str, Any]] = [{} for _ in self.groups]
        targets = []
        for name, words in self.labels.items():
            target, number = class_target(name, words)
            targets.append(target)
            for row, word in enumerate(words):
                values[row][name] = number[word]
        return targets, values


def told_by_paths(root: Path, files: Sequence[Path], account: Accounting) -> Told:
    """What paths say of recordings that no table speaks of."""
    levels = _below_common([path.relative_to(root).parts[:-1] for path in files])
    levels, splits = _parts_of_splits(levels, account)
    folders = [one[0] if one else "" for one in levels]
    meaning = folder_meaning(folders, _shared_folders(root, files))
    groups, said = groups_in_paths(files, root, folders if meaning.kind == "group" else ())
    fields = name_fields(files)
    if fields.scheme and any(fields.speakers) and not any(group_in_path(file, root) for file in files):
        said = ""  # the published names say who speaks
    told = Told(groups=groups, splits=splits)
    if fields.scheme:
        shown = ", ".join(fields.labels) or "none that differs"
        account.guess(
            "labels in names of files", shown, f"all {len(files)} follow the published names of {fields.scheme}"
        )
        told.labels.update(fields.labels)
    if said:
        account.note(said)
    elif fields.scheme:
        told.groups = list(fields.speakers)
        count = len(set(fields.speakers))
        account.guess("groups", f"{count} speakers", f"names of {fields.scheme} hold them; kept together in splits")
    elif meaning.kind == "none" and all(folders) and len(set(folders)) > 1:
        account.guess("folders", "no classes", meaning.reason, is_loss=True)
    if meaning.kind == "class" and not (said and len(set(folders)) == len(set(groups))):
        told.labels[CLASS] = folders
        reason = f"every recording lies in one: {meaning.reason}"
        account.guess("classes", f"{len(set(folders))} folders", reason)
    if not told.labels:
        tell_words_in_names([file.stem for file in files], account)
    return told


def told_beside_table(
    root: Path, files: Sequence[Path], columns: Mapping[str, Sequence[Any]], account: Accounting
) -> Told:
    """What paths say of recordings that a table does not say.

    Args:
        files: one a row of the table.
        columns: cells of the table, by name.
    """
    if not files or not all(file.is_relative_to(root) for file in files):
        return Told(groups=[None] * len(files))
    places = {file: place for place, file in enumerate(dict.fromkeys(files))}
    own = Accounting(root)
    found = told_by_paths(root, list(places), own)
    told = Told(groups=[found.groups[places[file]] for file in files])
    taken = {name.lower() for name in columns}
    for name, each in found.labels.items():
        words = [each[places[file]] for file in files]
        is_folder = name == CLASS
        if (is_folder and are_too_many(words)) or not stays_beside_table(words, columns.values()):
            continue
        called = FOLDER if is_folder and name in taken else name
        if called not in taken:
            told.labels[called] = words
            why = "folders of the recordings, which no column repeats" if is_folder else "published names of the files"
            account.guess(f"label {called!r}", f"{len(set(words))} classes", why)
    return told


def _shared_folders(root: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """The folder that was given, and those below it that all recordings share."""
    shared = Path(os.path.commonpath([path.parent for path in files])) if len(files) > 1 else root
    return (root.name, *(shared.relative_to(root).parts if shared.is_relative_to(root) else ()))


def _below_common(levels: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Folders without those that all recordings share, as long as folders are left to be told apart."""
    while all(len(one) > 1 for one in levels) and len({one[0] for one in levels}) == 1:
        levels = [one[1:] for one in levels]
    return levels


def _parts_of_splits(
    levels: list[tuple[str, ...]], account: Accounting
) -> tuple[list[tuple[str, ...]], dict[str, list[int]]]:
    """Folders below train, test and the like, and the splits that these name."""
    parts = sibling_parts(one[0] for one in levels if one)
    words = [parts[one[0]] if one else None for one in levels]
    named = {word for word in words if word}
    if not all(words) and len(named) < 2:
        return levels, {}
    account.guess("splits", ", ".join(sorted(named)), "folders of these names")
    if not all(words):
        account.note(f"{words.count(None):,} recordings lie beside the folders of the splits and belong to none")
    return [one[1:] if word else one for one, word in zip(levels, words, strict=True)], rows_by(words)
