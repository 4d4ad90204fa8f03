"""When a run meets NaN or Inf: keep everything that is needed to look at that step again, and say where.

A capture is a folder of two files: ``tensors.safetensors`` (batch, draws, weights, gradients, random state) and
``capture.json`` (step, seed, where the first bad values are, shapes, versions). No pickle is written.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from repcore.checkpoints.content import write_tensors
from repcore.errors import RunError
from repcore.interfaces import Batch

TENSORS, RECORD, FORMAT = "tensors.safetensors", "capture.json", 1
NAMED_AT_MOST = 20  # bad tensors listed in the record


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:  # inputs are the domain's own kind
    """Every tensor inside batches, mappings, sequences and objects with ``to_dict`` (PyG), by dotted name."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Batch):
        yield from named_tensors({"inputs": value.inputs, "views": value.views, "targets": value.targets}, name)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from named_tensors(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for position, part in enumerate(value):
            yield from named_tensors(part, f"{name}.{position}" if name else str(position))
    elif callable(getattr(value, "to_dict", None)):
        yield from named_tensors(value.to_dict(), name)


def nonfinite_counts(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Number of NaN and Inf values of each floating-point tensor that has some."""
    return {
        name: count
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and (count := int((~torch.isfinite(tensor)).sum()))
    }


def gradient_norms(module: nn.Module, depth: int = 2) -> dict[str, float]:
    """L2 norm of the gradients of each module group, the group being the first ``depth`` parts of the name.

    Parameters without a gradient count nothing; a group of such parameters is left out. One transfer for all groups.

    Args:
        module: for example an objective.
        depth: 1 = children of the module, 2 = their children, ...
    """
    groups: dict[str, list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            group = ".".join(name.split(".")[:-1][:depth]) or name
            groups.setdefault(group, []).append(parameter.grad.detach().float().norm())
    if not groups:
        return {}
    norms = torch.stack([torch.stack(parts).norm() for parts in groups.values()])
    return dict(zip(groups, norms.tolist(), strict=True))


def capture_failure(
    folder: Path,
    *,
    step: int,
    reason: str,
    module: nn.Module,
    batch: Batch,
    draws: Mapping[str, Any] | None = None,
    seed: int | None = None,
    hint: str = "",
) -> RunError:
    """Write the step and return the error to raise.

    Args:
        folder: made by this function; an existing one of the same name gets a number.
        step: optimiser step of the failure.
        reason: for example ``"loss is NaN"``.
        module: objective with its encoder; its weights, buffers and gradients are kept.
        batch: the micro-batch.
        draws: what ``Objective.draw`` gave.
        seed: of the run.
        hint: command that replays the step.

    Returns:
        :class:`RunError` naming the first bad tensors and the folder; if the folder cannot be written, the error says
        so instead (the original failure stays in front).
    """
    tensors = _collect(module, batch, draws)
    bad = nonfinite_counts(tensors)
    first = ", ".join(f"{name} ({count})" for name, count in list(bad.items())[:3])
    record = {
        "format": FORMAT,
        "step": step,
        "reason": reason,
        "seed": seed,
        "replay": hint,
        "sample_ids": [str(one) for one in batch.sample_id],
        "nonfinite": dict(list(bad.items())[:NAMED_AT_MOST]),
        "nonfinite_tensors": len(bad),
        "gradient_norms": {name: repr(value) for name, value in gradient_norms(module).items()},
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    try:
        place = _write(folder, tensors, record)
    except (OSError, SafetensorError) as error:
        return RunError(f"{reason} at step {step}", found=first, capture=f"could not be written: {error}", hint=hint)
    return RunError(
        f"{reason} at step {step}",
        found=first or "no NaN or Inf in batch, weights or gradients: it arises inside the forward pass",
        captured=place,
        hint=hint or "lower the learning rate, clip gradients, or train in full precision",
    )


def read_capture(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name (``batch.*``, ``draws.*``, ``weights.*``, ``gradients.*``, ``random.*``) and the record.

    Raises:
        RunError: not a capture, or damaged.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return load_file(folder / TENSORS), record
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"{folder} is not a readable capture", reason=str(error)) from error


def _collect(module: nn.Module, batch: Batch, draws: Mapping[str, Any] | None) -> dict[str, Tensor]:
    """Everything by name, contiguous on the CPU; tied weights are stored once for each name."""
    gradients = {name: one.grad for name, one in module.named_parameters() if one.grad is not None}
    random: dict[str, Tensor] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        random["cuda"] = torch.cuda.get_rng_state()
    parts: Sequence[tuple[str, Any]] = (
        ("batch", batch),
        ("draws", draws or {}),
        ("weights", module.state_dict()),
        ("gradients", gradients),
        ("random", random),
    )
    found: dict[str, Tensor] = {}
    for title, part in parts:
        for name, tensor in named_tensors(part, title):
            dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
            found[name] = dense.cpu().clone(memory_format=torch.contiguous_format)
    return found


def _write(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Path:
    place, number = folder, 1
    while place.exists():
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    unfinished = place.with_name(place.name + ".part")
    unfinished.mkdir(parents=True, exist_ok=True)
    write_tensors(unfinished / TENSORS, dict(tensors), {})
    (unfinished / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    unfinished.rename(place)
    return place
