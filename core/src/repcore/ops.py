"""Which implementation of an op runs, and proof that all of them agree.

An op has one plain torch definition (the truth) and faster twins. The choice is made when a module is built, from a
static priority per (device, dtype, sizes); it never depends on a measurement, so that two runs of the same settings
use the same code. ``REPCORE_OPS="selective-scan=torch,..."`` forces choices; every choice made is recorded
and written into a run's ``environment.json``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repcore import registry as registries
from repcore.errors import ConfigError, PluginError, RegistryError

if TYPE_CHECKING:
    import torch

REFERENCE = "torch"  # what the plain definition is called
_chosen: dict[str, str] = {}


def forced_choices() -> dict[str, str]:
    """Choices from ``REPCORE_OPS``.

    Raises:
        ConfigError: an entry is not of the form ``op=implementation``.
    """
    choices = {}
    for part in filter(None, (text.strip() for text in os.environ.get("REPCORE_OPS", "").split(","))):
        name, equals, implementation = part.partition("=")
        if not equals:
            raise ConfigError(f"REPCORE_OPS has {part!r}", expected="op=implementation, comma separated")
        choices[name.strip().replace("_", "-")] = implementation.strip()
    return choices


def _names(key: str, full_name: str) -> bool:
    """Whether an entry of ``REPCORE_OPS`` means this op; one that no plugin has means none."""
    try:
        return registries.default().op(key).full_name == full_name
    except RegistryError:
        return False


def choose(name: str, *, device: str = "cpu", dtype: str = "float32", sizes: Mapping[str, int] | None = None) -> str:
    """Name of the implementation to use, recorded for the run.

    Args:
        name: full op name.
        device: device type.
        dtype: for example ``"bfloat16"``.
        sizes: whatever the op's priority function looks at.

    Raises:
        ConfigError: a forced implementation does not exist or is not usable here.
    """
    entry = registries.default().op(name)
    known = (REFERENCE, *entry.spec.implementations)
    forced = next((one for key, one in forced_choices().items() if _names(key, entry.full_name)), None)
    if forced is not None:
        reason = "it does not exist" if forced not in known else why_unusable(name, forced)
        if reason:
            raise ConfigError(
                f"REPCORE_OPS asks for {entry.full_name}={forced}: {reason}", implementations=", ".join(known)
            )
        choice = forced
    else:
        ranked = entry.load("priority")(device, dtype, dict(sizes or {})) if entry.spec.priority else ()
        choice = next((one for one in ranked if one in known and not why_unusable(name, one)), REFERENCE)
    _chosen[entry.full_name] = choice
    return choice


def implementation(name: str, choice: str) -> Callable[..., Any]:
    """The function behind a choice."""
    entry = registries.default().op(name)
    loaded: Callable[..., Any]
    loaded = entry.load("reference") if choice == REFERENCE else entry.load("implementations", choice)
    return loaded


class Op:
    """A registered op as a callable: its implementation is asked for once a device, dtype and class of sizes.

    Args:
        name: full op name, for example ``"selective-scan"``.
        sizes: what the op's priority looks at, from the arguments of a call; None = it looks at device and dtype only.
        size_class: calls whose sizes fall into one class share a choice; without it those of equal sizes do.

    Call: as the op's plain definition, with a tensor as the first argument, which says the device and dtype.
    """

    def __init__(
        self,
        name: str,
        sizes: Callable[..., Mapping[str, int]] | None = None,
        size_class: Callable[[Mapping[str, int]], Hashable] | None = None,
    ) -> None:
        self.name = name
        self._sizes, self._size_class = sizes, size_class
        self._functions: dict[Hashable, Callable[..., Any]] = {}

    def __call__(self, first: torch.Tensor, *arguments: Any, **options: Any) -> Any:  # as the op says
        return self._run(first, *arguments, **options)

    def _run(self, first: torch.Tensor, *arguments: Any, **options: Any) -> Any:  # as the op says
        sizes = {} if self._sizes is None else self._sizes(first, *arguments, **options)
        group = tuple(sizes.items()) if self._size_class is None else self._size_class(sizes)
        key = (first.device.type, first.dtype, group)
        if key not in self._functions:
            dtype = str(first.dtype).removeprefix("torch.")
            choice = choose(self.name, device=first.device.type, dtype=dtype, sizes=sizes)
            self._functions[key] = implementation(self.name, choice)
        return self._functions[key](first, *arguments, **options)


def keep_out_of_graphs() -> None:
    """From now on ``torch.compile`` calls an :class:`Op` as it is.

    It is chosen by the registry, which is no arithmetic, and its fast twins are kernels already; a plain definition
    with a loop of thousands of steps would be unrolled.
    """
    import torch

    if not hasattr(Op._run, "__wrapped__"):
        Op._run = torch.compiler.disable(Op._run)  # type: ignore[method-assign]


def triton_unusable() -> str:
    """Why Triton kernels cannot run here (for ``OpSpec.usable``); empty if they can, by the interpreter at least."""
    import torch

    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        return "needs a CUDA device"
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    return ""


def why_unusable(name: str, choice: str) -> str:
    """Empty if an implementation can run on this machine, otherwise why not."""
    entry = registries.default().op(name)
    if choice not in entry.spec.usable:
        return ""
    try:
        return str(entry.load("usable", choice)())
    except PluginError as error:
        return error.summary


def chosen_implementations() -> dict[str, str]:
    """Every choice made in this process so far."""
    return dict(sorted(_chosen.items()))


@dataclass(frozen=True, slots=True)
class OpComparison:
    """One implementation on one case against the plain definition."""

    op: str
    implementation: str
    case: str
    max_difference: float
    agrees: bool
    reference_ms: float
    ms: float


def compare(name: str, *, device: str = "cpu", dtype: str = "float32", repeats: int = 5) -> Iterator[OpComparison]:
    """Values and gradients of all usable implementations on the op's own cases, with times (median of repeats).

    Gradients are those of the sum of all floating outputs with respect to all floating inputs that require one.
    """
    entry = registries.default().op(name)
    if not entry.spec.cases:
        return
    reference = implementation(name, REFERENCE)
    for choice in entry.spec.implementations:
        if why_unusable(name, choice):
            continue
        twin = implementation(name, choice)
        for case, arguments, options in entry.load("cases")(device, dtype):
            expected, reference_ms = _values_and_time(reference, arguments, options, repeats)
            got, ms = _values_and_time(twin, arguments, options, repeats)
            difference = max((_difference(a, b) for a, b in zip(expected, got, strict=True)), default=0.0)
            agrees = len(expected) == len(got) and difference <= entry.spec.tolerance
            yield OpComparison(entry.full_name, choice, case, difference, agrees, reference_ms, ms)


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest |a - b|, relative to the largest |a| where that is above 1."""
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0:
        return 0.0
    scale = max(1.0, float(a.detach().double().abs().max()))
    return float((a.detach().double() - b.detach().double()).abs().max()) / scale


def _values_and_time(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any], repeats: int
) -> tuple[list[torch.Tensor], float]:
    """Outputs followed by gradients, and the median time in ms."""
    import torch

    times = []
    values: list[torch.Tensor] = []
    for _ in range(repeats):
        fresh = [a.detach().clone().requires_grad_(a.requires_grad) if torch.is_tensor(a) else a for a in arguments]
        started = time.perf_counter()
        result = function(*fresh, **options)
        outputs = [one for one in (result if isinstance(result, tuple | list) else (result,)) if torch.is_tensor(one)]
        roots = [one for one in outputs if one.is_floating_point() and one.requires_grad]
        leaves = [one for one in fresh if torch.is_tensor(one) and one.requires_grad]
        gradients: list[torch.Tensor] = []
        if roots and leaves:
            total = torch.stack([root.float().sum() for root in roots]).sum()
            found = torch.autograd.grad(total, leaves, allow_unused=True)
            gradients = [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, found, strict=True)]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1000.0 * (time.perf_counter() - started))
        values = [*outputs, *gradients]
    return values, sorted(times)[len(times) // 2]
