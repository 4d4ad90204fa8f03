"""What Adam-v2 sees of one image or volume and what it makes of it: views in their places, figures beside them.

Everything is said in words and numbers, in the text colour of the page. Frames over images are white in black; over
volumes they are tinted, and their order is written beside them.

Symbols: C channels, s axes, V views.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repcore.interfaces import Picture

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from repcore.interfaces import Draws
    from repcore_medical3d.configs.adam_v2 import ViewsConfig

MAP_EDGE, VIEW_EDGE = 256, 128  # pixels; six pictures share the room of a report
MAP_WIDTH, STRIP_WIDTH = 480, 246  # of three slices beside each other
QUALITY = 85
MARGIN = 0.05  # of what frames cover
SHELLS_PER_EDGE = 96  # a frame in a volume is an edge / 96 thick, at least one voxel
LINE = "border:1px solid;border-color:color-mix(in srgb,currentColor 30%,transparent)"
CELL = f"{LINE};padding:.1rem .45rem;text-align:right;font-variant-numeric:tabular-nums"
READING = (
    "1 = the same direction, 0 = unrelated. Vectors of one network have much in common, so a figure counts where "
    "it is well above its neighbours. Wrong place: parts in each other's places; the predictions for other parts."
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cosine of a vector of the first image with its prediction, and what it is to be read against.

    Args:
        own: with the prediction for it.
        misplaced: whole: composed of the parts, each in the place of the one before; part: mean over the predictions
            for the other places.
    """

    own: float
    misplaced: float


@dataclass(frozen=True, slots=True)
class AnatomySeen:
    """What a picture shows of one image.

    Args:
        image: (C, *E) in 0 to 1.
        draws: views and their boxes; of the localizability stage, there are no parts.
        losses: of each student view.
        agreements: of the whole, then of each part; empty without parts.
        prototypes: number that a view's loss is a choice among.
        views: settings that the views were cut by.
    """

    image: Tensor
    draws: Draws
    losses: Sequence[float]
    agreements: Sequence[Agreement]
    prototypes: int
    views: ViewsConfig


def anatomy_picture(seen: AnatomySeen) -> Picture:
    """Whole, parts, concentric views of one image, and what the model makes of them."""
    draws, losses, found = seen.draws, seen.losses, seen.agreements
    sets = ("whole", "parts", "global", "local")
    boxes = {name: draws[f"{name}_boxes"][0].tolist() for name in sets if name in draws}
    painter = _Painter(seen.image)
    large = "" if found else " Views of this run's first stage: there are no wholes and parts yet."
    guess = f"{math.log(seen.prototypes):.2f} by guessing"
    names = _view_names(len(draws["global"][0]), len(draws["local"][0]))
    views = [*draws["global"][0], *draws["local"][0]]
    rows = [_nested(painter, [*boxes["global"], *boxes["local"]], views, (names, losses), guess)]
    if found:
        rows.insert(0, _whole_and_parts(painter, boxes, draws, seen.views.branching, found))
        rows.append(_table(found))
    degrees = seen.views.rotation_degrees if found else seen.views.warmup_rotation_degrees
    note = f"Frames are upright; views are turned by up to {degrees:g} degrees and changed in intensity.{large}"
    style = "width:100%;padding:.6rem;box-sizing:border-box;text-align:left;font-size:.85rem;overflow-x:auto"
    drawn = f'<div style="{style}">{"".join(rows)}<p style="margin:.4rem 0 0">{note}</p></div>'
    return Picture(html=drawn, alt=_words(found, losses, guess))


class _Painter:
    """Pixels of views and of the image that they were cut from, in its grey values.

    Args:
        image: (C, *E).
    """

    def __init__(self, image: Tensor) -> None:
        self.image, self.axes = image, image.ndim - 1
        self.bounds = (float(image.min()), float(image.max()))

    def view(self, view: Tensor, alt: str) -> str:
        """One view (C, *S); of a volume, three slices through its middle."""
        edge = VIEW_EDGE if self.axes == 2 else STRIP_WIDTH
        pixels = self._flat(view) if self.axes == 2 else self._slices(view, [size // 2 for size in view.shape[1:]])
        return f'<img alt="{html.escape(alt)}" style="display:block;width:100%" src="{_jpeg(pixels, edge)}">'

    def map(self, boxes: Sequence[Sequence[float]], names: Sequence[str], alt: str, *, is_nested: bool) -> str:
        """The image with frames around boxes (V, 2s), the first of them drawn strongest; in volumes without names.

        Args:
            is_nested: boxes lie in each other: an image is drawn as far as they reach, so that names find room.
        """
        if self.axes == 3:
            import numpy as np

            centre = [round(boxes[0][axis] + boxes[0][3 + axis] / 2) for axis in range(3)]
            classes = np.zeros(tuple(self.image.shape[1:]), np.int64)
            for number, box in enumerate(boxes[::-1]):
                classes[_shell(classes.shape, box)] = len(boxes) - number
            source = _jpeg(self._slices(self.image, centre, classes), MAP_WIDTH)
            return f'<img alt="{html.escape(alt)}" style="display:block;width:100%" src="{source}">'
        edges = self.image.shape[1:]
        (top, bottom), (left, right) = _reach(boxes, edges) if is_nested else [(0, edge) for edge in edges]
        height, width = bottom - top, right - left
        pixels = _jpeg(self._flat(self.image[:, top:bottom, left:right]), MAP_EDGE)
        frames = "".join(
            _frame(box, name, min(height, width), number, is_nested=is_nested)
            for number, (box, name) in enumerate(zip(boxes, names, strict=True))
        )
        return (
            f'<svg role="img" aria-label="{html.escape(alt)}" viewBox="{left} {top} {width} {height}" '
            f'style="display:block;width:100%"><image x="{left}" y="{top}" width="{width}" height="{height}" '
            f'href="{pixels}"/>{frames}</svg>'
        )

    def _flat(self, view: Tensor) -> np.ndarray:
        """uint8 (H, W), or (H, W, 3) of three channels."""
        import numpy as np

        low, high = self.bounds
        level = ((view.float() - low) / max(high - low, 1e-6)).clamp(0, 1).mul(255).round().cpu().numpy()
        chosen = level.transpose(1, 2, 0) if len(level) == 3 else level[0]
        return np.ascontiguousarray(chosen.astype(np.uint8))

    def _slices(self, view: Tensor, centre: Sequence[int], classes: np.ndarray | None = None) -> np.ndarray:
        """uint8 (height, width, 3): slices as everywhere in reports."""
        import numpy as np

        from repcore_medical3d.rendering.volumes import slices

        values = view[0].float().cpu().numpy()
        return slices(values, (1.0, 1.0, 1.0), np.asarray(centre), classes=classes, bounds=self.bounds)


def places(branching: Sequence[int]) -> list[list[list[int]]]:
    """Part numbers as they are laid out: layers of rows of columns.

    Images: one layer, rows downwards. Volumes: layers along the last axis from the top, in each the first axis across
    and the second upwards, as in an axial slice.
    """
    if len(branching) == 2:
        rows, columns = branching
        return [[[row * columns + column for column in range(columns)] for row in range(rows)]]
    across, up, layers = branching
    return [
        [[(one * up + row) * layers + layer for one in range(across)] for row in reversed(range(up))]
        for layer in reversed(range(layers))
    ]


def _whole_and_parts(
    painter: _Painter,
    boxes: dict[str, list[list[float]]],
    draws: Draws,
    branching: Sequence[int],
    found: Sequence[Agreement],
) -> str:
    """The image with the anchor's frame and its parts', the whole as a view, the parts in their places."""
    numbers = [str(number + 1) for number in range(len(boxes["parts"]))]
    if painter.axes == 2:
        where = painter.map(
            [*boxes["whole"], *boxes["parts"]], ["", *numbers], "frames of the whole and its parts", is_nested=False
        )
    else:
        where = painter.map(boxes["whole"], ["whole"], "frame of the whole", is_nested=False)
    grids = []
    for number, layer in enumerate(places(branching)):
        cells = [
            _captioned(
                painter.view(draws["parts"][0, part], f"part {part + 1}"), f"{part + 1}: {found[1 + part].own:.2f}"
            )
            for part in itertools.chain(*layer)
        ]
        name = "" if painter.axes == 2 else f"<div>layer {number + 1} from the top</div>"
        grids.append(f'{name}<div style="display:grid;gap:.25rem;grid-template-columns:repeat({len(layer[0])},1fr)">'
                     f"{''.join(cells)}</div>")  # fmt: skip
    whole = painter.view(draws["whole"][0, 0], "the whole as the model sees it")
    is_flat = painter.axes == 2
    left = [
        _panel("The image: the whole (solid) and its parts" if is_flat else "Slices; the frame is the whole", where),
        _panel(f"The whole; composed from its parts: {found[0].own:.2f}", whole),
    ]
    parts = _panel("Its parts; as predicted from the whole", "".join(grids), grow=1 if is_flat else 2)
    return _row([*left, parts] if is_flat else [_panel("", "".join(left)), parts])


def _nested(
    painter: _Painter,
    boxes: Sequence[Sequence[float]],
    views: Sequence[Tensor],
    figures: tuple[Sequence[str], Sequence[float]],
    guess: str,
) -> str:
    """Global and local views, each with its loss, and the image with their frames."""
    names, losses = figures
    total = math.prod(painter.image.shape[1:])
    shares = [math.prod(box[painter.axes :]) / total for box in boxes]
    cells = [
        _captioned(painter.view(view, f"view {name}"), f"{name} {share:.0%}: {loss:.2f}")
        for name, view, loss, share in zip(names, views, losses, shares, strict=True)
    ]
    width = "6.6rem" if painter.axes == 2 else "9.5rem"
    strip = (
        f'<div style="display:grid;gap:.25rem;grid-template-columns:repeat(auto-fill,minmax({width},1fr))">'
        f"{''.join(cells)}</div>"
    )
    where = painter.map(boxes, names, "frames of the views", is_nested=True)
    order = ", ".join(name for _, name in sorted(zip(shares, names, strict=True)))
    place = "Where the views lie" if painter.axes == 2 else f"Where the views lie; frames from the smallest: {order}"
    title = f"Views (share of the image) and their localizability loss ({guess})"
    return _row([_panel(place, where), _panel(title, strip, grow=2)])


def _table(found: Sequence[Agreement]) -> str:
    """Every cosine with those it is to be read against."""
    heads = ["cosine with its prediction", "wrong place"]
    lines = []
    for number, one in enumerate(found):
        cells = "".join(f'<td style="{CELL}">{value:.3f}</td>' for value in (one.own, one.misplaced))
        name = f"part {number}" if number else "whole"
        lines.append(f'<tr><th scope="row" style="{CELL};text-align:left">{name}</th>{cells}</tr>')
    top = "".join(f'<th scope="col" style="{CELL}">{head}</th>' for head in ["", *heads])
    return (
        f'<table style="border-collapse:collapse;width:100%"><thead><tr>{top}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table><p style="margin:.3rem 0 0">{READING}</p>'
    )


def _words(found: Sequence[Agreement], losses: Sequence[float], guess: str) -> str:
    """The picture without seeing it."""
    words = f"localizability loss {sum(losses) / len(losses):.2f} over {len(losses)} views ({guess})"
    if not found:
        return f"Views of the localizability stage: {words}"
    parts = found[1:]
    own, elsewhere = (
        sum(values) / len(parts) for values in zip(*((one.own, one.misplaced) for one in parts), strict=True)
    )
    return (
        f"Whole and {len(parts)} parts: cosine {found[0].own:.2f} between the whole and what its parts compose "
        f"({found[0].misplaced:.2f} with parts in each other's places), {own:.2f} between parts and their predictions "
        f"({elsewhere:.2f} with those for other places); {words}"
    )


def _view_names(large: int, local: int) -> list[str]:
    """``global``, or ``global 1`` and ``global 2``; letters for local views, from the smallest."""
    letters = [*string.ascii_lowercase, *(f"v{number}" for number in range(local))][:local]
    return [*(["global"] if large == 1 else [f"global {number + 1}" for number in range(large)]), *letters]


def _reach(boxes: Sequence[Sequence[float]], edges: Sequence[int]) -> list[tuple[int, int]]:
    """First voxel and end along each axis of an image that boxes (V, 2s) cover together, and a little around them."""
    found = []
    for axis, edge in enumerate(edges):
        low = min(box[axis] for box in boxes)
        high = max(box[axis] + box[len(edges) + axis] for box in boxes)
        margin = MARGIN * (high - low)
        found.append((max(0, math.floor(low - margin)), min(edge, math.ceil(high + margin))))
    return found


def _frame(box: Sequence[float], name: str, edge: int, number: int, *, is_nested: bool) -> str:
    """A frame (y, x, height, width) with its name inside, white in black, in an image of that edge."""
    top, left, height, width = box
    line, size = edge / (130 if number == 0 else 200), edge / 14
    shape = f'x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="none"'
    dashes = "" if number == 0 else f' stroke-dasharray="{4 * line:g} {2 * line:g}"'
    corner = number % 4 if is_nested else 0  # frames around one centre take turns, so that names do not meet
    across, anchor = (left + width - 0.4 * size, "end") if corner in (1, 2) else (left + 0.4 * size, "start")
    if is_nested and number == 0:
        across, anchor = left + width / 2, "middle"
    down = top + height - 0.4 * size if corner in (2, 3) else top + 1.1 * size
    return (
        f'<rect {shape} stroke="#000" stroke-width="{2.4 * line:g}"/>'
        f'<rect {shape} stroke="#fff" stroke-width="{line:g}"{dashes}/>'
        f'<text x="{across:g}" y="{down:g}" font-size="{size:g}" text-anchor="{anchor}" '
        f'fill="#fff" stroke="#000" stroke-width="{size / 5:g}" paint-order="stroke">{html.escape(name)}</text>'
    )


def _shell(shape: Sequence[int], box: Sequence[float]) -> np.ndarray:
    """The voxels of a box's surface, bool of that shape."""
    import numpy as np

    thick = max(1, round(max(shape) / SHELLS_PER_EDGE))
    outer, inner = np.zeros(tuple(shape), bool), np.zeros(tuple(shape), bool)
    start, stop = [round(one) for one in box[:3]], [round(box[axis] + box[3 + axis]) for axis in range(3)]
    outer[tuple(slice(low, high) for low, high in zip(start, stop, strict=True))] = True
    inner[tuple(slice(low + thick, max(high - thick, low)) for low, high in zip(start, stop, strict=True))] = True
    return outer & ~inner


def _jpeg(pixels: np.ndarray, edge: int) -> str:
    """A data address; colour that is none is dropped."""
    from PIL import Image

    is_grey = pixels.ndim == 3 and bool((pixels[..., :1] == pixels).all())
    image = Image.fromarray(pixels[..., 0].copy() if is_grey else pixels)
    image.thumbnail((edge, edge))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _captioned(picture: str, caption: str) -> str:
    return f'<div style="min-width:0">{picture}<div style="font-size:.8rem">{html.escape(caption)}</div></div>'


def _panel(title: str, content: str, grow: int = 1) -> str:
    heading = f'<div style="margin:.2rem 0">{html.escape(title)}</div>' if title else ""
    return f'<div style="flex:{grow} 1 0;min-width:0">{heading}{content}</div>'


def _row(panels: Sequence[str]) -> str:
    return f'<div style="display:flex;gap:.8rem;align-items:flex-start;margin-bottom:.6rem">{"".join(panels)}</div>'
