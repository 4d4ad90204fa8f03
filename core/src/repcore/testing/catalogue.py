"""Every conformance check by what it looks at. A new kind of spec gets a group here and a method in ``plan``."""

from __future__ import annotations

from collections.abc import Mapping

from repcore.testing import (
    boxed_checks,
    capability_checks,
    checkpoint_checks,
    command_checks,
    data_checks,
    dense_writer_checks,
    element_checks,
    encoder_checks,
    estimator_checks,
    model_probe_checks,
    objective_checks,
    op_checks,
    picture_checks,
    plugin_checks,
    preprocessor_checks,
    probe_checks,
    settings_checks,
    sniff_checks,
    split_checks,
    task_checks,
    view_checks,
    writer_checks,
)
from repcore.testing.check import Check

GROUPS: Mapping[str, tuple[Check, ...]] = {
    "plugin": plugin_checks.CHECKS,
    "every config": settings_checks.CONFIG_CHECKS,
    "recipe": settings_checks.RECIPE_CHECKS,
    "data set": data_checks.CHECKS,
    "data set with a renderer": picture_checks.CHECKS,
    "data set with a sniffer": sniff_checks.CHECKS,
    "preprocessor": preprocessor_checks.CHECKS,
    "preprocessor with baselines": preprocessor_checks.BASELINE_CHECKS,
    "split of a preprocessor": split_checks.CHECKS,
    "preprocessor of data with labels of elements": element_checks.RESTORE_CHECKS,
    "preprocessor with a `labelled_item`": element_checks.LABELLED_ITEM_CHECKS,
    "division of a preprocessor": element_checks.DIVISION_CHECKS,
    "metric of elements of a preprocessor": element_checks.METRIC_CHECKS,
    "views": view_checks.CHECKS,
    "encoder": encoder_checks.CHECKS,
    "encoder by its capabilities": tuple(capability_checks.CHECKS.values()),
    "objective": objective_checks.CHECKS,
    "objective with a `mask_ratio`": objective_checks.MASK_CHECKS,
    "task": task_checks.CHECKS,
    "probe": probe_checks.CHECKS,
    "probe that sees the model": model_probe_checks.CHECKS,
    "estimator": estimator_checks.CHECKS,
    "writer": writer_checks.CHECKS,
    "dense writer": dense_writer_checks.CHECKS,
    "op": op_checks.CHECKS,
    "checkpoint": checkpoint_checks.CHECKS,
    "command": command_checks.CHECKS,
    "model": boxed_checks.CHECKS,
}


def all_checks() -> list[Check]:
    """Every check once."""
    return [one for group in GROUPS.values() for one in group]
