"""Sums of embeddings for columns of integer codes, as the Open Graph Benchmark encodes atoms and bonds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from repcore.errors import DataError

OGB_ATOM_VOCABULARIES = (119, 5, 12, 12, 10, 6, 6, 2, 2)
OGB_BOND_VOCABULARIES = (5, 6, 2)


class CategoricalEmbedding(nn.Module):
    """(S, C) integer codes -> (S, D): the sum over columns of one embedding each, Glorot-uniform.

    Source: ogb 1.3.6 ``AtomEncoder`` and ``BondEncoder``.

    Args:
        vocabularies: number of codes of each column.
        width: D.

    Raises:
        DataError: a code lies outside its vocabulary (checked when not compiling).
    """

    def __init__(self, vocabularies: Sequence[int], width: int) -> None:
        super().__init__()
        self.vocabularies = tuple(vocabularies)
        self.columns = nn.ModuleList(nn.Embedding(size, width) for size in vocabularies)
        for column in self.columns:
            assert isinstance(column, nn.Embedding)
            bound = math.sqrt(6.0 / (column.num_embeddings + width))
            nn.init.uniform_(column.weight, -bound, bound)

    def forward(self, codes: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and codes.numel() and codes.device.type == "cpu":
            self._check(codes)
        return torch.stack([column(codes[:, place]) for place, column in enumerate(self.columns)]).sum(0)

    def _check(self, codes: Tensor) -> None:
        sizes = torch.tensor(self.vocabularies)
        wrong = ((codes < 0) | (codes >= sizes)).nonzero()
        if len(wrong):
            row, column = (int(value) for value in wrong[0])
            raise DataError(
                f"code {int(codes[row, column])} in column {column} has no embedding",
                expected=f"0 to {self.vocabularies[column] - 1}",
                hint="train with a vocabulary that contains it, or map it to an 'other' code",
            )
