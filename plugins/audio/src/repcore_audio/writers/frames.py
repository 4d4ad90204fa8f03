"""Answers about frames: a table of all frames, and a selection table of events that Raven opens.

Times are seconds of the recording's file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from repcore.embedding.answers import column_of, output_names
from repcore.errors import ConfigError
from repcore.interfaces import DenseAnswer
from repcore_audio.datasets.frame_labels import BACKGROUND

RAVEN_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Annotation",
    "Score",
)  # fmt: skip


def write_frames(path: Path, answer: DenseAnswer) -> None:
    """CSV: start, end, for classes the class and ``p:<class>``, else values or features, and the data's own
    ``label:<target>`` where it has one; empty where there is none."""
    outputs, target = answer.outputs, answer.target
    known = np.isfinite(outputs).all(1)
    names = [f"f{k}" for k in range(outputs.shape[1])] if target is None else output_names(target, outputs.shape[1])
    labelled = answer.labelled()
    is_class = target is not None and target.kind == "class"
    head = ["start", "end", *([column_of(target)] if target is not None and is_class else [])]
    head += [*(f"p:{name}" if is_class else name for name in names), *labelled]
    best = np.nan_to_num(outputs).argmax(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        for row, (start, end) in enumerate(zip(answer.elements["start"], answer.elements["end"], strict=True)):
            cells = [f"{start:.4f}", f"{end:.4f}"]
            if is_class:
                cells.append(names[best[row]] if known[row] else "")
            cells += [f"{one:.6g}" for one in outputs[row]] if known[row] else [""] * len(names)
            table.writerow([*cells, *("" if own[row] is None else own[row] for own in labelled.values())])


def write_raven(path: Path, answer: DenseAnswer) -> None:
    """Tab-separated selection table: consecutive frames of one class are one selection, its score the mean probability
    of the class over them. Frames of the class ``background`` are in none. Frequencies span the recording's band.
    Raven knows no quotes: tabs and line breaks in a name of a class become blanks.

    Raises:
        ConfigError: the answers are no classes.
    """
    if answer.target is None or answer.target.kind != "class":
        raise ConfigError("a selection table holds classes, these answers are numbers", hint="--format frames")
    names = output_names(answer.target, answer.outputs.shape[1])
    recording = answer.sample.inputs
    top = recording.sample_rate_hz / 2
    channel = recording.channels if recording.channels.isdecimal() else "1"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        table.writerow(RAVEN_COLUMNS)
        number = 0
        for first, stop, kind in runs(answer.outputs):
            if names[kind] == BACKGROUND:
                continue
            number += 1
            begin, end = answer.elements["start"][first], answer.elements["end"][stop - 1]
            score = float(answer.outputs[first:stop, kind].mean())
            name = " ".join(names[kind].split())
            table.writerow(
                [
                    number,
                    "Spectrogram 1",
                    channel,
                    f"{begin:.4f}",
                    f"{end:.4f}",
                    "0.0",
                    f"{top:.1f}",
                    name,
                    f"{score:.4f}",
                ]
            )


def runs(outputs: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """First frame, frame after the last, and class of every stretch of one class; frames without an answer end it.

    Args:
        outputs: (N, K) with NaN.
    """
    known = np.isfinite(outputs).all(1)
    kinds: Sequence[int] = np.where(known, np.nan_to_num(outputs).argmax(1), -1).tolist()
    first = 0
    for row in range(1, len(kinds) + 1):
        if row == len(kinds) or kinds[row] != kinds[first]:
            if kinds[first] >= 0:
                yield first, row, kinds[first]
            first = row
