"""Which colour of a picture stands for what, as HTML that may stand in a page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence


def legend(colours: Mapping[str, Sequence[int]]) -> str:
    """A line of coloured squares with words.

    Args:
        colours: word -> red, green, blue in 0 .. 255.
    """
    squares = [
        '<svg width="10" height="10" viewBox="0 0 10 10"><rect width="10" height="10" '
        f'fill="rgb({",".join(str(int(part)) for part in colour)})"/></svg> {html.escape(word)}'
        for word, colour in colours.items()
    ]
    return f"<p>{' &ensp; '.join(squares)}</p>" if squares else ""
