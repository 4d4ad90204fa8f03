"""Tables of what frozen features know about labels of elements, one a target and label budget."""

from __future__ import annotations

from collections.abc import Sequence

from repcore.data.copies import copies_across
from repcore.embedding.dense import level_of
from repcore.embedding.inference import InferenceOptions
from repcore.embedding.model import Model
from repcore.evaluation.copied_rows import labelled_rows
from repcore.evaluation.dense_answers import named_classes, void_said, with_ignored
from repcore.evaluation.dense_probing import ElementProbing, probe_elements
from repcore.evaluation.probing import chosen_targets, split_plan
from repcore.evaluation.protocol import ProbeTable
from repcore.interfaces import DatasetReader
from repcore.reporting import Reporter


def element_tables(
    model: Model,
    reader: DatasetReader,
    level: str,
    seeds: Sequence[int],
    options: InferenceOptions,
    reporter: Reporter,
    *,
    asked: ElementProbing,
    labels: Sequence[str] = (),
    ignore: int | None = None,
    group: str | None = None,
    split: str = "random",
    together: bool = False,
) -> list[ProbeTable]:
    """Every label of a level under protocols of elements.

    Args:
        level: point, voxel, frame, node or edge.
        labels: their names; all of the level when empty.
        ignore: value that means unlabelled.
        group: label of elements, or way of the domain, by which samples are divided before the split.
        together: rows with the same content stay on one side of a split.

    Raises:
        ConfigError: no such level, label, protocol or features to join. DataError: nothing is labelled.
    """
    tables = []
    for one in chosen_targets(reader, labels, level_of(level)):
        target = with_ignored(one, ignore)
        rows = labelled_rows(model, reader, target, group, together=together)
        if void := void_said(rows, target):
            reporter.warn(void)
        values, target = named_classes(rows, target)
        chosen = "group" if group and split == "random" else split
        plan = split_plan(model.registry, model.folder.preprocessor_name, rows, target, chosen, seeds)
        if leak := copies_across(plan, rows.copies, rows.ids):
            reporter.warn(leak)
        tables += probe_elements(model, rows, target, plan, seeds, options, reporter, values=values, asked=asked)
    return tables
