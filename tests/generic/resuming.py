"""A fine-tuning that dies after a checkpoint and is resumed, beside one that was not disturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from repcore.checkpoints.reading import read_file
from repcore.cli.main import run
from repcore.training.listeners import Checkpoints


def check_that_it_goes_on(
    words: Callable[[str], list[str]], domain: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """Runs ``whole`` and ``cut``, the second killed after its first checkpoint: the same weights, which are returned.

    Args:
        words: the command for a run of this name.
    """
    assert run(words("whole")) == 0
    save, saved = Checkpoints.save, []

    def dying(self: Checkpoints, state: Any) -> None:
        save(self, state)
        saved.append(state.step)
        if len(saved) == 2:
            raise SystemError("the power went")

    monkeypatch.setattr(Checkpoints, "save", dying)
    assert run(words("cut")) != 0
    monkeypatch.setattr(Checkpoints, "save", save)
    assert run([domain, "finetune", "--resume", "cut"]) == 0
    one, other = (read_file(Path("runs") / name / "model" / "weights.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
    return one
