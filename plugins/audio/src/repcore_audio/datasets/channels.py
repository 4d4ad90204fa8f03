"""A column that gives every recording one of its channels: applied where all files have it, else said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repcore.data.accounting import Accounting
from repcore.data.groups import plain_name
from repcore.errors import ItemError
from repcore_audio.datasets.excerpts import channel_numbers, first_channel
from repcore_audio.datasets.manifest_tables import Cells
from repcore_audio.datasets.recordings import Note
from repcore_audio.formats.sound_files import sound_facts

CERTAIN = ("channel", "chan", "ch", "channel_index", "channel_no", "channel_nr", "channel_number", "kanal")
LIKELY = ("channels", "mic", "microphone", "side")
"""Names that may as well describe a recording: never applied unasked."""
MOST_OPENED = 200  # files, spread over the table


def own_channels(
    cells: Cells, located: Sequence[tuple[Path, Note | None]], labels: Sequence[str], account: Accounting
) -> str | None:
    """The column of channels to apply; None where there is none, or where it cannot be meant, which is said."""
    asked = {name.lower() for name in labels}
    for name in cells.columns:
        plain = plain_name(name)
        if plain not in (*CERTAIN, *LIKELY) or name.lower() in asked or not cells.has_names:
            continue
        texts = cells.texts(name)
        numbers = channel_numbers(texts)
        first, _ = first_channel(texts)
        filled = [number for number in numbers if number is not None]
        if not filled or len(filled) < len(texts) - texts.count(None) or (plain == "channels" and first):
            continue
        widths = _widths(located)
        if max(widths.values(), default=1) < 2:
            continue  # of one channel each: the column tells where they come from
        fits = all((numbers[row] or 0) <= width for row, width in widths.items())
        if plain in CERTAIN and len(set(filled)) > 1 and fits:
            account.guess("a row", f"the channel of its recording that {name!r} gives",
                          f"files have it; counted from {first}", "excerpts=ignore")  # fmt: skip
            return name
        account.guess(f"column {name!r}", "not applied: the setting channels says which are taken",
                      "its name and cells are those of channels", f"channel_column={name}", is_loss=True)  # fmt: skip
    return None


def _widths(located: Sequence[tuple[Path, Note | None]]) -> dict[int, int]:
    """Number of channels of files, by row."""
    found: dict[int, int] = {}
    rows = [row for row, (_, missing) in enumerate(located) if missing is None]
    for row in rows[:: max(1, len(rows) // MOST_OPENED)]:
        try:
            found[row] = sound_facts(located[row][0]).channels
        except ItemError:
            continue
    return found
