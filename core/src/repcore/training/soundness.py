"""Whether the content of a checkpoint can be gone on from: compared with the run's module before anything is loaded.

Checksums say that a file is what was written, not that it is a checkpoint of this run. Moments of another shape would
end the process in the optimiser's fused kernel, and steps that the training loop does not count would be made twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repcore.training.module import ObjectiveModule, StepRecord
from repcore.training.movement import check_movement
from repcore.training.same_run import check_carried

MOST_STEPS = 10**15
LOOP_STEPS = ("fit_loop", "epoch_loop.manual_optimization.optim_step_progress", "total", "completed")  # of Lightning
MOMENTS = ("exp_avg", "exp_avg_sq")


def check_content(content: Any) -> None:  # whatever the file holds
    """What holds for every checkpoint of a run.

    Raises:
        ValueError: says in a few words what is wrong.
    """
    if not isinstance(content, Mapping) or "global_step" not in content or "state_dict" not in content:
        raise ValueError("it is no checkpoint of a run")
    step = content["global_step"]
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= MOST_STEPS:
        raise ValueError(f"its global_step is {str(step)[:40]}, no number of steps")
    if not isinstance(content["state_dict"], Mapping):
        raise ValueError("its state_dict is no table of tensors")
    counted: Any = content.get("loops")
    for key in LOOP_STEPS:
        counted = counted.get(key) if isinstance(counted, Mapping) else None
    if counted != step:
        raise ValueError(f"its training loop counts {str(counted)[:40]} steps, its global_step is {step}")
    states = content.get("optimizer_states")
    if not isinstance(states, list) or len(states) != 1 or not isinstance(states[0], Mapping):
        raise ValueError("it has no optimizer_states of one optimiser")
    if not re.match(r"\d+\.\d+", str(content.get("pytorch-lightning_version"))):
        raise ValueError("it does not say by which version of Lightning it was written")
    _check_kept(content.get("repcore", {}))


def _check_kept(kept: Any) -> None:
    """What listeners go on with can be read as what they take it for."""
    try:
        figures = [kept.get("best", 0.0), *kept.get("last_validation", {}).values(), kept.get("validated_at", 0)]
        wrong = [one for one in figures if isinstance(one, bool) or not isinstance(one, int | float)]
        for record in kept.get("listeners", {}).get("MetricsWriter", []):
            StepRecord.of_plain(record)
        check_carried(kept.get("of"))
        check_movement(kept.get("listeners", {}).get("Movement", []))
    except Exception as error:  # any value may stand where another belongs
        raise ValueError(f"what it keeps of the run cannot be read ({type(error).__name__}: {error})") from error
    if wrong:
        raise ValueError(f"what it keeps of the run holds {str(wrong[0])[:40]} in place of a number")


def check_fits(content: Mapping[str, Any], module: ObjectiveModule) -> None:
    """Tensors and moments against the module and its optimiser.

    Raises:
        ValueError: says in a few words what is wrong.
    """
    _check_tensors(content["state_dict"], module)
    _check_optimiser(content["optimizer_states"][0], content["state_dict"], module)


def _check_tensors(saved: Mapping[str, Any], module: nn.Module) -> None:
    expected = module.state_dict()
    absent, unknown = [name for name in expected if name not in saved], [name for name in saved if name not in expected]
    if absent or unknown:
        said = [f"lacks {_short(absent[0])}"] if absent else []
        said += [f"holds {_short(unknown[0])}, which the model does not have"] if unknown else []
        raise ValueError(f"it {' and '.join(said)}")
    parameters = {name for name, _ in module.named_parameters()}
    free = tuple(_names_of_own_shapes(module))
    for name, wanted in expected.items():
        found = saved[name]
        if not isinstance(wanted, Tensor):
            continue
        _check_kind(name, found, wanted.dtype)
        if found.shape != wanted.shape and not name.startswith(free):
            raise ValueError(f"{_short(name)} has shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
        if name in parameters:
            _check_finite(name, found)


def _names_of_own_shapes(module: nn.Module) -> Iterator[str]:
    """Beginnings of the names of modules that take tensors of other shapes than they have (a grown table)."""
    for name, part in module.named_modules():
        loads = type(part)._load_from_state_dict
        if loads is not nn.Module._load_from_state_dict and not loads.__module__.startswith("torch."):
            yield f"{name}." if name else ""


def _check_optimiser(saved: Mapping[str, Any], tensors: Mapping[str, Any], module: ObjectiveModule) -> None:
    optimiser = module.configure_optimizers()
    groups, states = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(states, Mapping):
        raise ValueError("its optimizer_states have no param_groups or no state")
    sizes = [len(group["params"]) for group in optimiser.param_groups]
    found = [len(one["params"]) if isinstance(one, Mapping) and "params" in one else -1 for one in groups]
    if found != sizes:
        raise ValueError(f"its optimiser has groups of {found} parameters, not of {sizes}")
    for own, group in zip(optimiser.param_groups, groups, strict=True):
        _check_group(own, group)
    order = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    numbers = [number for group in groups for number in group["params"]]
    if numbers != list(range(len(order))) or any(key not in range(len(order)) for key in states):
        raise ValueError("its optimiser numbers its parameters otherwise")
    names = {parameter: name for name, parameter in module.named_parameters()}
    needed = MOMENTS if isinstance(optimiser, torch.optim.Adam | torch.optim.AdamW) else ()
    for number, kept in states.items():
        name = names[order[number]]
        if not isinstance(kept, Mapping) or any(key not in kept for key in (*needed, *(("step",) if needed else ()))):
            raise ValueError(f"the optimiser's state of {_short(name)} is incomplete")
        for key, value in kept.items():
            _check_moment(f"{key} of {name}", str(key), value, tensors[name])


def _check_group(own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    for key, value in own.items():
        if key not in saved:
            raise ValueError(f"its optimiser's groups have no {key}")
        numbers = saved[key] if isinstance(value, tuple) else (saved[key],)
        if key != "params" and isinstance(value, float | tuple):
            numeric = isinstance(numbers, tuple | list) and all(isinstance(one, int | float) for one in numbers)
            if not numeric or not all(math.isfinite(one) and one >= 0 for one in numbers):
                raise ValueError(f"its optimiser's {key} is {str(saved[key])[:40]}")
            if key == "betas" and not (len(numbers) == 2 and max(numbers) < 1):
                raise ValueError(f"its optimiser's betas are {str(saved[key])[:40]}")


def _check_moment(words: str, key: str, value: Any, parameter: Tensor) -> None:
    if key == "step":
        count = float(value) if isinstance(value, int | float) or _is_one_number(value) else math.nan
        if not 0 <= count <= MOST_STEPS:
            raise ValueError(f"{_short(words)} is no number of steps")
    elif value is not None:  # momentum before the first step
        _check_kind(words, value, parameter.dtype)
        if value.shape != parameter.shape:
            raise ValueError(f"{_short(words)} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
        _check_finite(words, value)
        if key.endswith("_sq") and value.numel() and bool((value < 0).any()):
            raise ValueError(f"{_short(words)} holds a square below 0")


def _is_one_number(value: Any) -> bool:
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta
    return plain and value.numel() == 1 and not value.is_complex()


def _check_kind(words: str, value: Any, dtype: torch.dtype) -> None:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        raise ValueError(f"{_short(words)} is no ordinary tensor")
    if value.dtype != dtype:
        raise ValueError(f"{_short(words)} is of {value.dtype}, not {dtype}")


def _check_finite(words: str, value: Tensor) -> None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ValueError(f"{_short(words)} is not finite")


def _short(name: str) -> str:
    """The name of a tensor, as a file may give it, for one line."""
    return name if len(name) <= 80 else f"{name[:77]}..."
