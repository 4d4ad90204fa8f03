"""Feed-forward blocks copied once a domain, and whom they serve.

Symbols: B items, T tokens, S tokens of a ragged batch, D width, N experts, R rank.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repcore.errors import ConfigError, RunError

UNKNOWN = -1


class Router:
    """Which expert serves each item of the batch in hand; set around a pass, asked by the blocks.

    ``experts`` int64 (B,), -1 = the mean of all; ``owner`` int64 (S,), for blocks that get ragged tokens.
    """

    def __init__(self) -> None:
        self.experts: Tensor | None = None
        self.owner: Tensor | None = None

    def of_rows(self, tokens: Tensor) -> Tensor | None:
        """Expert of each row of a block's input; None = all rows take the mean."""
        if self.experts is None:
            return None
        if tokens.ndim > 2 and len(tokens) == len(self.experts):
            return self.experts
        if self.owner is not None and len(tokens) == len(self.owner):
            return self.experts[self.owner]
        if len(tokens) == len(self.experts):
            return self.experts
        raise RunError(
            f"a block got {tuple(tokens.shape)} for {len(self.experts)} items; whose they are is not said",
            hint="blocks get (B, T, D), or the encoder's token_owner(batch) gives the item of each of (S, D)",
        )


class Experts(nn.Module):
    """Copies of one block; every item goes through that of its domain, unknown ones through all (mean).

    Args:
        block: what each expert starts as.
        count: N.
        router: says whose turn it is.
    """

    def __init__(self, block: nn.Module, count: int, router: Router) -> None:
        super().__init__()
        self.experts = nn.ModuleList(copy.deepcopy(block) for _ in range(count))
        self.router = router

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, D) or (S, D) to the same shape; the dtype is the experts'."""
        chosen = self.router.of_rows(tokens)
        if chosen is None:
            return torch.stack([expert(tokens) for expert in self.experts]).mean(0)
        parts, places = [], []
        for number in range(UNKNOWN, len(self.experts)):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                own = tokens[rows]
                parts.append(self._mean(own) if number == UNKNOWN else self.experts[number](own))
                places.append(rows)
        if not parts:  # no token at all
            return self._mean(tokens)
        found = torch.cat(parts)[torch.cat(places).argsort()]
        return found + self._untouched() if torch.is_grad_enabled() else found

    def _untouched(self) -> Tensor:
        """0 with a graph to every expert: processes that exchange gradients must all have all of them, and whose
        domains are in a batch differs between processes."""
        learned = [one for one in self.experts.parameters() if one.requires_grad]
        return torch.stack([one.sum() * 0.0 for one in learned]).sum() if learned else torch.zeros(())

    def _mean(self, tokens: Tensor) -> Tensor:
        return torch.stack([expert(tokens) for expert in self.experts]).mean(0)


class LowRank(nn.Module):
    """A frozen linear layer with a change of low rank: W x + (alpha / R) B A x; B is 0 at the start.

    Args:
        base: kept as it is, and shared.
        rank: R.
        alpha: scale of the change.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.down = nn.Parameter(0.01 * torch.randn(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, values: Tensor) -> Tensor:
        changed: Tensor = self.base(values) + self.scale * F.linear(F.linear(values, self.down), self.up)
        return changed


def low_rank_experts(block: nn.Module, count: int, rank: int, alpha: float, router: Router) -> Experts:
    """Experts that share the block's weights and change its linear layers.

    Raises:
        ConfigError: the block has no linear layer.
    """
    names = [name for name, part in block.named_modules() if isinstance(part, nn.Linear)]
    if not names:
        raise ConfigError(f"{type(block).__name__} has no linear layer for a low-rank change", hint="method.rank=null")
    experts = Experts(block, count, router)
    block.requires_grad_(False)
    for expert in experts.experts:
        for name, part in list(expert.named_modules()):
            if isinstance(part, nn.Linear) and name:
                put(expert, name, LowRank(_original(block, name), rank, alpha))
    if names == [""]:  # the block is a linear layer itself
        experts.experts = nn.ModuleList(LowRank(_original(block, ""), rank, alpha) for _ in range(count))
    return experts


def _original(block: nn.Module, name: str) -> nn.Linear:
    found = block.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


def put(parent: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a sub-module by its dotted name."""
    above, _, last = name.rpartition(".")
    owner = parent.get_submodule(above)
    if isinstance(owner, nn.ModuleList | nn.Sequential):
        owner[int(last)] = module
    else:
        setattr(owner, last, module)
