"""Figures as words."""

from __future__ import annotations

from repcore.reporting import figures_in_words


def test_a_baseline_stands_behind_its_figure() -> None:
    values = {"loss": 1.7951, "accuracy": 0.494, "loss_baseline": 2.081}
    assert figures_in_words(values) == "loss 1.795 (baseline 2.081)  accuracy 0.494"
    assert figures_in_words({}) == ""
