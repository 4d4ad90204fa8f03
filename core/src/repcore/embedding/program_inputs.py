"""Which inputs an exported program has, and which of their axes may change: read off batches of real rows.

An axis is a batch axis when it follows the number of items, and a length axis when it follows the rows. Whatever is
no plain tensor with one entry an item (graphs, ragged points, sparse voxels) has no form that such a program takes.

Symbols: B items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from repcore.data.batching import plain_batch
from repcore.embedding.windows import PreparedRow
from repcore.errors import RunError
from repcore.interfaces import Batch, Item, Preprocessor, Sample

WHOLE = "inputs"
"""Name of the only input where ``batch.inputs`` is a tensor itself."""
EXAMPLE_ITEMS = 2  # torch.export takes axes of size 1 as fixed
CHECKED_ITEMS = (3, 1)  # sizes of the batches that the program is compared on, besides the example


@dataclass(frozen=True, slots=True)
class ProgramInputs:
    """Inputs of a program.

    Args:
        example: name -> tensor with B = 2.
        checks: further inputs of other batch sizes, and lengths where the rows have them.
        fixed: what else the batch holds, the same for every row.
        lengths: name -> axes other than 0 that differ between rows.
        alike: whether all rows of a batch must have one length.
    """

    example: Mapping[str, Tensor]
    checks: Sequence[Mapping[str, Tensor]]
    fixed: Mapping[str, Any]
    lengths: Mapping[str, tuple[int, ...]]
    alike: bool = False

    def batch(self, tensors: Mapping[str, Tensor], domain: str = "") -> Batch:
        """The batch that an encoder sees."""
        first = next(iter(tensors.values()))
        inputs = first if tuple(tensors) == (WHOLE,) else {**tensors, **self.fixed}
        return Batch(inputs=inputs, size=first.shape[0], domain=domain)


def program_inputs(preprocessor: Preprocessor, rows: Sequence[PreparedRow], name: str, domain: str) -> ProgramInputs:
    """Inputs of a program from prepared rows, at least one of them with an item.

    Args:
        name: of the encoder, for messages.

    Raises:
        RunError: no row can be used, or the inputs are no plain tensors with one entry an item.
    """
    pairs = [(row.sample, item) for row in rows for item in row.items if row.sample is not None]
    if not pairs:
        told = "; ".join(sorted({f"{row.status}: {row.reason}" for row in rows})[:3])
        raise RunError("no row gives an example of the inputs", rows=told or "none", hint="--data with usable rows")
    ordered = sorted(pairs, key=lambda one: preprocessor.cost(one[1].meta))
    # the longest rows are the example, so that no axis of it has size 1 by chance
    plans = [_cycled(ordered[::-1], EXAMPLE_ITEMS), *(_cycled(ordered, n) for n in CHECKED_ITEMS), ordered[-1:]]
    found = [program_parts(_collate(preprocessor, plan, domain), len(plan), name) for plan in plans]
    alike = len({frozenset(tensors) for tensors, _ in found}) > 1
    if alike:  # batches of rows of different length hold more than others do: the program takes those of one length
        plans = [plan[:1] * len(plan) for plan in plans]
        found = [program_parts(_collate(preprocessor, plan, domain), len(plan), name) for plan in plans]
    example, *others = found
    if any(set(tensors) != set(example[0]) or fixed != example[1] for tensors, fixed in others):
        raise _no_form(name, "the inputs of one row are other ones than those of another")
    lengths = {
        key: tuple(a for a in range(1, tensor.dim()) if len({one[0][key].shape[a] for one in found}) > 1)
        for key, tensor in example[0].items()
    }
    return ProgramInputs(example[0], [tensors for tensors, _ in others[:-1]], example[1], lengths, alike)


def _cycled(pairs: Sequence[tuple[Sample, Item]], count: int) -> list[tuple[Sample, Item]]:
    return [pairs[k % len(pairs)] for k in range(count)]


def _collate(preprocessor: Preprocessor, pairs: Sequence[tuple[Sample, Item]], domain: str) -> Batch:
    return plain_batch(preprocessor, [item for _, item in pairs], [sample for sample, _ in pairs], (), domain)


def program_parts(batch: Batch, items: int, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and plain values of ``batch.inputs``, the tensors with ``items`` entries along axis 0."""
    if isinstance(batch.inputs, Tensor):
        tensors, fixed = {WHOLE: batch.inputs}, {}
    elif isinstance(batch.inputs, Mapping) and not hasattr(batch.inputs, "edge_index"):
        tensors = {str(key): value for key, value in batch.inputs.items() if isinstance(value, Tensor)}
        fixed = {str(key): value for key, value in batch.inputs.items() if not isinstance(value, Tensor)}
    else:
        raise _no_form(name, f"its inputs are a {type(batch.inputs).__name__}")
    strange = [f"{key!r} ({type(value).__name__})" for key, value in fixed.items() if not _is_plain(value)]
    if strange:
        raise _no_form(name, f"its inputs hold {', '.join(strange)}")
    ragged = [f"{k!r} {tuple(v.shape)}" for k, v in tensors.items() if v.dim() == 0 or v.shape[0] != items]
    if ragged or not tensors:
        what = ", ".join(ragged) or "no tensor"
        raise _no_form(name, f"for a batch of {items} its inputs hold {what}: they are ragged or sparse")
    if any(tensor.layout != torch.strided for tensor in tensors.values()):
        raise _no_form(name, "its inputs are sparse tensors")
    return tensors, fixed


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, str | int | float | bool)


def _no_form(name: str, why: str) -> RunError:
    return RunError(
        f"{name} cannot be exported: {why}",
        expected="plain tensors with one entry an item along their first axis",
        hint="use the model from Python: repcore.load(MODEL).embed(data), or .predict(data)",
    )
