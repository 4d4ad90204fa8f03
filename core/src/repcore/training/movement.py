"""Which of the trainable parameters training has changed since its first step: figures of vectors cannot tell a network
that learns nothing from one that is done.

A learning rate of almost 0, a loss that does not depend on a part, or gradients of exactly 0 leave parameters as they
were; what only weight decay has changed counts as unchanged. A tensor is compared by two projections on random signs,
whose differences estimate how far it has moved (Johnson and Lindenstrauss; Achlioptas 2003) without a copy of it, and
no more once it has moved, so that all looks together cost about two.

Symbols: n numbers of a tensor, w0 its values before the first step.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from repcore.diagnostics.verdict import Finding
from repcore.training.module import StepRecord
from repcore.training.objective_rules import exported_encoder
from repcore.training.state import RunState

STILL_WARNING = 0.5
"""Share of the trainable parameters that never changed from which on it is a warning; smaller parts, such as a token
that one objective does not use, are told."""
MOVED = 1e-6
"""Of the length of w0, or of what the learning rates so far allow if that is less: what is below is no change."""
NOTHING = 1e-12  # of the length of w0: no change whatever the learning rates, that of almost 0 included
TOLD = 0.01
"""Share of the trainable parameters from which on it is told beside a healthy verdict: single tensors whose gradient is
0 by the very form of the network (biases of keys, in front of a softmax) are none."""
LEAST_SIZE = 1e-3  # root mean square below which w0 counts as so large; biases begin at 0
CHUNK = 2**20
SHOWN = 6


class Movement:
    """Notes the parameters before the first step, and says which are still the same. Kept in checkpoints.

    Args:
        speaks: whether it says at the end of the run what is wrong; the diagnosis on held-out rows does where there is
            one.
    """

    def __init__(self, *, speaks: bool) -> None:
        self.speaks = speaks
        self._sizes: dict[str, int] = {}  # numbers of each trainable parameter
        self._still: dict[str, list[float]] = {}  # two projections and the length of those that have not changed
        self._rates = 0.0  # sum of the learning rates so far
        self._silent: set[str] = set()  # of those, the ones that could not have changed yet

    def start(self, state: RunState) -> None:
        shared = any(isinstance(one, DTensor) for one in state.module.objective.parameters())
        if state.is_writer and state.step == 0 and not shared:  # parts of tensors would be told from wholes
            found = {name: one for name, one in state.module.objective.named_parameters() if one.requires_grad}
            self._sizes = {name: one.numel() for name, one in found.items()}
            self._still = {name: [*_projections(name, one), _length(one)] for name, one in found.items()}

    def step(self, state: RunState, record: StepRecord) -> None:
        self._rates += float(record.lr)

    def end(self, state: RunState) -> None:
        if self.speaks and state.is_writer and not state.stop_reason:
            for _, words in self.findings(state):
                state.reporter.warn(words)

    def saved(self, state: RunState) -> list[dict[str, Any]]:
        return [{"sizes": self._sizes, "still": self._still, "rates": self._rates}]

    def restore(self, saved: Iterable[Mapping[str, Any]]) -> None:
        for kept in saved:  # of an earlier version: nothing, and nothing is said
            self._sizes, self._still = dict(kept["sizes"]), dict(kept["still"])
            self._rates = float(kept.get("rates", 0.0))

    def look(self, state: RunState) -> dict[str, Any]:
        """``moved-share`` of the trainable parameters, and ``never-moved``: names of modules and parameters; empty
        before the first step, and where the beginning is not known."""
        if not self._sizes or not state.step:
            return {}
        known = dict(state.module.objective.named_parameters())
        moments = {key: one for optimiser in state.trainer.optimizers for key, one in optimiser.state.items()}
        self._still = {
            name: before
            for name, before in self._still.items()
            if name in known
            and (_only_decayed(moments.get(known[name])) or _is_still(name, known[name], before, self._rates))
        }
        self._silent = {name for name, before in self._still.items() if self._is_early(state, known[name], before)}
        still = sum(self._sizes[name] for name in self._judged)
        return {"moved-share": 1.0 - still / max(1, sum(self._sizes.values())), "never-moved": self._modules()}

    def findings(self, state: RunState) -> list[Finding]:
        """What is wrong, for the verdict."""
        seen = self.look(state)
        if not seen or not self._judged:
            return []
        named = _shown(seen["never-moved"])
        if len(self._judged) == len(self._sizes):
            advice = "look at optimiser.lr and at what the loss depends on"
            words = f"no trainable parameter has changed since step 0: nothing is learned ({named}); {advice}"
            return [("warning", words)]
        exported = self._names_of(exported_encoder(state.module.objective), state.module.objective)
        if exported and exported <= set(self._judged):
            reason = "the loss does not depend on it, or its learning rate is 0"
            return [("warning", f"no trainable parameter of the encoder has changed since step 0 ({named}): {reason}")]
        share = 1.0 - seen["moved-share"]
        return [("warning", still_words(seen))] if share >= STILL_WARNING else []

    @property
    def _judged(self) -> list[str]:
        return [name for name in self._still if name not in self._silent]

    def _is_early(self, state: RunState, parameter: Tensor, before: list[float]) -> bool:
        """Whether a parameter cannot have changed yet: it is frozen for now, or the warm-up has hardly begun."""
        warming = state.step < int(state.config.get("schedule", {}).get("warmup_steps") or 0)
        allowed = self._rates * math.sqrt(parameter.numel())
        return not parameter.requires_grad or (warming and allowed <= MOVED * before[2])

    def _names_of(self, part: nn.Module, whole: nn.Module) -> set[str]:
        own = {id(one) for one in part.parameters()}
        return {name for name, one in whole.named_parameters() if id(one) in own and name in self._sizes}

    def _modules(self) -> list[str]:
        """The unchanged parameters, each by the largest module all of whose parameters are unchanged."""
        moved = {prefix for name in self._sizes if name not in self._judged for prefix in _prefixes(name)}
        found = (next(prefix for prefix in _prefixes(name) if prefix not in moved) for name in self._judged)
        return list(dict.fromkeys(found))


def still_words(seen: Mapping[str, Any]) -> str:
    """What never changed, as a sentence; empty where everything has, or all but a tensor or two."""
    if not seen.get("never-moved"):
        return ""
    share = 1.0 - seen["moved-share"]
    if share < TOLD:
        return ""
    return f"{share:.2g} of the trainable parameters never changed: {_shown(seen['never-moved'])}"


def check_movement(saved: Any) -> None:  # whatever a file holds
    """What a checkpoint keeps of it.

    Raises:
        ValueError: another kind stands there.
    """
    for kept in saved:
        sizes, still = kept["sizes"], kept["still"]
        if not all(isinstance(one, int) for one in sizes.values()) or not set(still) <= set(sizes):
            raise ValueError("sizes of parameters are no numbers")
        if not all(len(one) == 3 and all(isinstance(value, float) for value in one) for one in still.values()):
            raise ValueError("what parameters began with are no numbers")
        if not isinstance(kept.get("rates", 0.0), float):
            raise ValueError("the sum of the learning rates is no number")


def _prefixes(name: str) -> list[str]:
    """``a``, ``a.b``, ``a.b.c`` of ``a.b.c``."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _only_decayed(moments: Mapping[str, Any] | None) -> bool:
    """Whether all gradients so far were exactly 0, so that only weight decay can have changed a parameter."""
    mean = None if moments is None else moments.get("exp_avg")
    return isinstance(mean, Tensor) and not bool(torch.any(mean))


def _is_still(name: str, parameter: Tensor, before: list[float], rates: float = 1.0) -> bool:
    """Whether it has moved by no more than a millionth of its length, or of what the sum of all rates allows."""
    first, second, length = before
    now = _projections(name, parameter)
    least = max(NOTHING * length, MOVED * min(length, rates * math.sqrt(parameter.numel())))
    return math.hypot(now[0] - first, now[1] - second) / math.sqrt(2) <= least


def _length(parameter: Tensor) -> float:
    values = parameter.detach().double()
    return max(float(torch.linalg.vector_norm(values)), LEAST_SIZE * math.sqrt(parameter.numel()))


def _projections(name: str, parameter: Tensor) -> tuple[float, float]:
    """Sums of a tensor's numbers with two random signs each, which follow from its name."""
    flat = parameter.detach().reshape(-1)
    flat = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
    draw, sums = torch.Generator().manual_seed(zlib.crc32(name.encode())), [0.0, 0.0]
    for piece in flat.split(CHUNK):
        values = piece.to("cpu", torch.float64)
        drawn = torch.randint(4, (len(values),), generator=draw, dtype=torch.uint8)
        for number in (0, 1):
            signs = 1.0 - 2.0 * ((drawn >> number) & 1)
            sums[number] += float(values @ signs.double())
    return sums[0], sums[1]


def _shown(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
