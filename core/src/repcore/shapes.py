"""Shape checks at public entries: ``check_shape(points, "B N 3", name="points")``.

One word a dimension: a number must match, a letter or name binds to a size and must be the same wherever it
appears again (also between calls that share ``bound``), ``_`` matches anything and ``...`` any leading dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repcore.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor


def check_shape(
    tensor: Tensor,
    pattern: str,
    *,
    name: str,
    owner: str = "",
    bound: dict[str, int] | None = None,
) -> dict[str, int]:
    """Compare a tensor's shape with a pattern.

    Args:
        tensor: what was given.
        pattern: for example ``"B N 3"``.
        name: what the caller calls the tensor, for the message.
        owner: who expects it, for the message, for example ``"pointcloud/i2p-mae"``.
        bound: sizes already known; extended in place.

    Returns:
        Sizes by letter.

    Raises:
        ShapeError: rank or a size differs.
    """
    sizes = {} if bound is None else bound
    expected = pattern.split()
    shape = tuple(tensor.shape)
    if expected and expected[0] == "...":
        expected = expected[1:]
        if len(shape) >= len(expected):
            shape = shape[len(shape) - len(expected) :]
    if len(shape) != len(expected):
        raise _mismatch(tensor, pattern, name, owner, f"{len(tensor.shape)} dimensions instead of {len(expected)}")
    for axis, (size, word) in enumerate(zip(shape, expected, strict=True)):
        if word == "_":
            continue
        want = int(word) if word.isdigit() else sizes.setdefault(word, size)
        if size != want:
            detail = f"dimension {axis} ({word}) is {size}" + (
                "" if word.isdigit() else f", but {word}={want} elsewhere"
            )
            raise _mismatch(tensor, pattern, name, owner, detail)
    return sizes


def _mismatch(tensor: Tensor, pattern: str, name: str, owner: str, detail: str) -> ShapeError:
    return ShapeError(
        f"{name} has shape {tuple(tensor.shape)}; {owner or 'the caller'} expects ({pattern.replace(' ', ', ')})",
        problem=detail,
    )
