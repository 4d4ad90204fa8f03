"""What a run leaves behind for its user: the model folder with its card, and diagnostics on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from repcore.checkpoints.saving import save_model
from repcore.checkpoints.task_part import TaskPart
from repcore.data.seeds import generator
from repcore.diagnostics.metrics import diagnose
from repcore.diagnostics.verdict import judge
from repcore.embedding.inference import InferenceOptions, PreparedRow, embed_prepared
from repcore.embedding.width import LOOKED_AT, measured_widths
from repcore.embedding.windows import prepared_windows
from repcore.errors import ConfigError
from repcore.files import read_figures
from repcore.registry import Registry
from repcore.training.assembly import RunParts, teachers
from repcore.training.data_record import card_command, card_data
from repcore.training.movement import Movement, still_words
from repcore.training.objective_rules import exported_encoder
from repcore.training.plan import diagnosed_rows
from repcore.training.run_folder import RunFolder
from repcore.training.state import RunState

AS_MADE = ("dead-dimensions",)
"""Figures that are not judged before the first step: a network of rectified units is made with constant dimensions."""
EARLY_SHARE = 0.15
"""Share of a run during which no verdict is given: masked models first learn frequencies, and their vectors lie on one
point until they learn more; calling that a collapse would be a false alarm (seen on SELFormer at a tenth of a run)."""

Diagnosis = Callable[[RunState], tuple[dict[str, Any], str]]


def held_out_diagnosis(parts: RunParts, movement: Movement, steps: int) -> Diagnosis:
    """Figures of the exported encoder on validation rows, judged against step 0, and what has not been trained.

    Args:
        steps: of the run, which say how many rows are looked at.
    """
    rows = diagnosed_rows(parts.resolved, steps, parts.validation)
    held: list[PreparedRow] = []  # read and prepared at the first call, embedded at every call

    def run(state: RunState) -> tuple[dict[str, Any], str]:
        if not held:
            window = next(prepared_windows(parts.reader, parts.preprocessor, rows), [])
            held.extend(row for row in window if row.items)
        vectors = _vectors(parts, held, str(state.module.device))
        figures = diagnose(vectors, generator=generator(parts.resolved.trainer.seed, "diagnostics"))
        first = next(iter(read_figures(state.folder.path / "diagnostics.jsonl")), None)
        early = 0 < state.step < EARLY_SHARE * state.total_steps
        seen = {} if early else movement.look(state)
        begun = first if state.step else {name: figures[name] for name in AS_MADE if name in figures}
        verdict = judge(figures, begun, () if early else movement.findings(state))
        level = "early" if early else verdict.level
        record = {**figures, **seen, "level": level, "reasons": [] if early else list(verdict.reasons)}
        state.folder.write_json("diagnostics.json", {"step": state.step, **record})
        if early:
            return record, "too early to judge the embeddings"
        still = still_words(seen) if verdict.level == "healthy" else ""
        return record, "; ".join(words for words in (verdict.line, still) if words)

    return run


def _vectors(parts: RunParts, rows: list[PreparedRow], device: str) -> np.ndarray:
    """Vectors of prepared rows, float32 (N, D), in eval mode."""
    encoder = exported_encoder(parts.objective)
    was_training = encoder.training
    encoder.eval()
    options = InferenceOptions(batch_size=parts.resolved.data.batch_size, device=device)
    found = embed_prepared(encoder, parts.preprocessor, rows, options, domain=parts.resolved.domain)
    encoder.train(was_training)
    return found.vectors


def export_model(
    registry: Registry,
    parts: RunParts,
    folder: RunFolder,
    validation: Mapping[str, float],
    steps: int,
    task: TaskPart | None = None,
    changes: Sequence[Mapping[str, Any]] = (),
    kept: int | None = None,
) -> None:
    """Write ``model/`` from the objective's exported encoder.

    Args:
        task: of a fine-tuned model.
        changes: what methods made of the encoder.
        kept: step whose weights these are, where it need not be the last; ``validation`` is of that step.

    Raises:
        ConfigError: the objective exports something that is not an encoder.
    """
    resolved = parts.resolved
    encoder = exported_encoder(parts.objective)
    if not hasattr(encoder, "dim"):
        raise ConfigError(f"objective {resolved.objective.name} exports {type(encoder).__name__}, which has no dim")
    spec = resolved.encoder.entry.spec
    save_model(
        folder.model,
        encoder=encoder,
        encoder_name=resolved.encoder.name,
        encoder_config=resolved.encoder.config,
        preprocessor=parts.preprocessor,
        preprocessor_name=resolved.preprocessor.name,
        preprocessor_config=resolved.preprocessor.config,
        card={
            "summary": spec.summary,
            "paper": spec.paper,
            "licence": spec.licence,
            "recipe": f"{resolved.recipe} ({resolved.preset})",
            "objective": resolved.objective.name,
            **card_command(folder),
            **card_data(parts, folder, steps),
            "steps": steps,
            "kept_step": kept,
            "seed": resolved.trainer.seed,
            "validation": dict(validation),
            "diagnostics": _diagnostics(folder, kept),
            "teachers": teachers(parts.objective),
        },
        task=task,
        changes=changes,
        widths=_widths(parts, encoder),
        extra={"run": resolved.plain(), "environment": folder.read_json("environment.json") or {}},
    )


def _widths(parts: RunParts, encoder: nn.Module) -> dict[str, dict[str, int]]:
    """How wide the encoder's vectors are, on a row of the run; nothing where that cannot be told, which ends no run."""
    spec = parts.resolved.encoder.entry.spec
    rows = np.concatenate([parts.validation[:LOOKED_AT], parts.train[:LOOKED_AT]])
    try:
        return measured_widths(
            encoder, parts.preprocessor, parts.reader, rows,
            poolings=spec.poolings, has_layers="layers" in spec.capabilities, domain=parts.resolved.domain,
        )  # fmt: skip
    except Exception:  # other people's code on one row: their trouble shows where the model is used
        return {}


def _diagnostics(folder: RunFolder, kept: int | None) -> dict[str, Any]:
    """The last figures, or those of the step whose weights are kept."""
    if kept is None:
        return folder.read_json("diagnostics.json") or {}
    lines = read_figures(folder.path / "diagnostics.jsonl")
    return next((one for one in lines if one.get("step") == kept), {})
