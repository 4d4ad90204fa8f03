"""Comparing a computed tensor with a stored one: every kind and modifier of golden format 1.

Kinds: exact, absolute, relative_to_max, allclose, cosine_sign_free, partition. (``exact_json`` is in
:mod:`repcore.verification.documents`; ``informational`` compares nothing.)
Modifiers: valid_rows, ignored_rows, allowed_outliers, must_be_finite, skip_where_raw_gradient_below, alternative.

A tolerance never hides a shape, and never a value that is not finite: those must be the same on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repcore.errors import DataError

KNOWN_KEYS = frozenset({
    "kind", "tolerance", "rtol", "atol", "agreement", "valid_rows", "ignored_rows", "allowed_outliers",
    "must_be_finite", "when_fed", "alternative", "skip_where_raw_gradient_below", "reason", "lists_as_sets",
    "ignored_lines",
})  # fmt: skip
ALTERNATIVE_KEYS = frozenset({"when", "kind", "tolerance", "rtol", "atol"})


ROUNDING_LIMIT = 4.0
"""Stored float32 numbers carry the rounding of the processor that made them. Where a replay measured how strongly an
element amplifies rounding, that much is granted beyond the tolerance, but never more than so many tolerances."""
ROUNDED_KINDS = ("absolute", "relative_to_max", "allclose")


@dataclass(frozen=True, slots=True)
class Row:
    """Verdict on one tensor or document.

    Args:
        name: of the tensor or field.
        passed: whether it is within the stage's tolerance.
        compared: number of elements compared.
        max_absolute / max_relative: largest |a - b|, and largest |a - b| / largest |b| (nan where they mean nothing).
        detail: why it failed, or what was left out.
    """

    name: str
    passed: bool
    compared: int = 0
    max_absolute: float = float("nan")
    max_relative: float = float("nan")
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Extras:
    """What modifiers may need beside the two tensors.

    Args:
        valid: bool mask over the leading dimensions, True = real slot.
        raw_gradient: gradient of the stored parameter before clipping, of the tensor's shape.
        rounding: how far float32 moves each element on this machine, of the tensor's shape; see ``ROUNDING_LIMIT``.
    """

    valid: Tensor | None = None
    raw_gradient: Tensor | None = None
    rounding: Tensor | None = None


def compare_tensor(
    name: str, stored: Tensor, produced: Any, rule: Mapping[str, Any], extras: Extras | None = None
) -> Row:
    """Compare one tensor.

    Args:
        name: for the row.
        stored: what the reference computed.
        produced: tensor, array or number from the replay; cast to the stored floating dtype first.
        rule: the stage's ``compare``.
        extras: tensors that modifiers name.

    Returns:
        the verdict; a mismatch never raises.

    Raises:
        DataError: the rule has an unknown kind or key, or a modifier's tensor is missing or misshapen.
    """
    check_rule(rule)
    computed = torch.as_tensor(produced).detach().cpu()
    if computed.shape != stored.shape and not (computed.numel() == stored.numel() == 1):
        return Row(name, False, detail=f"shape {tuple(computed.shape)} instead of {tuple(stored.shape)}")
    computed = computed.reshape(stored.shape)
    keep, left_out = _kept(stored, rule, extras or Extras())
    row = _by_rule(name, stored, computed, rule, keep)
    alternative = rule.get("alternative")
    if not row.passed and alternative:
        other = _by_rule(name, stored, computed, alternative, keep)
        if other.passed:
            row = replace(other, detail=f"by the alternative for {alternative.get('when', 'another implementation')}")
    rounding = None if extras is None else extras.rounding
    if not row.passed and rounding is not None and rule["kind"] in ROUNDED_KINDS:
        row = _within_rounding(row, stored, computed, rule, keep, rounding)
    return replace(row, detail="; ".join(part for part in (row.detail, left_out) if part))


def _within_rounding(
    row: Row, stored: Tensor, computed: Tensor, rule: Mapping[str, Any], keep: Tensor, rounding: Tensor
) -> Row:
    """The comparison again with measured rounding granted; the printed errors stay those of the plain comparison."""
    if rounding.shape != stored.shape:
        raise DataError(f"rounding of shape {tuple(rounding.shape)} does not fit {tuple(stored.shape)}")
    old, new = stored.double(), computed.double()
    granted = rounding.double().abs().minimum(ROUNDING_LIMIT * _bound(old, rule))
    finite = old.isfinite() & new.isfinite()
    moved = torch.where(finite, new + (old - new).clamp(-granted, granted), new)
    other = _by_rule(row.name, old, moved, rule, keep)
    words = f"{row.detail}, within the rounding of float32 measured here"
    return replace(row, passed=True, detail=words) if other.passed else row


def _bound(stored: Tensor, rule: Mapping[str, Any]) -> Tensor:
    """Tolerance of each element."""
    if rule["kind"] == "allclose":
        return _number(rule, "atol") + _number(rule, "rtol") * torch.where(stored.isfinite(), stored.abs(), 0.0)
    scale = _largest(stored) if rule["kind"] == "relative_to_max" else 1.0
    return torch.full_like(stored, _number(rule, "tolerance") * scale)


def check_rule(rule: Mapping[str, Any]) -> None:
    """Refuse kinds and modifiers that this version does not know: they could hide or invent a failure."""
    unknown = sorted(set(rule) - KNOWN_KEYS)
    alternative = rule.get("alternative", {})
    unknown += sorted(f"alternative.{key}" for key in set(alternative) - ALTERNATIVE_KEYS)
    kinds = {rule["kind"], alternative.get("kind", rule["kind"])}
    unknown_kinds = kinds - set(_KINDS) - {"exact_json", "informational"}
    if unknown or unknown_kinds:
        raise DataError(
            f"comparison rule has unknown {', '.join([*unknown, *sorted(unknown_kinds)])}",
            kinds=", ".join([*_KINDS, "exact_json", "informational"]),
            keys=", ".join(sorted(KNOWN_KEYS)),
        )


def _kept(stored: Tensor, rule: Mapping[str, Any], extras: Extras) -> tuple[Tensor, str]:
    """Which elements count (bool, shape of ``stored``), and a note on those that do not."""
    keep = torch.ones(stored.shape, dtype=torch.bool)
    notes = []
    if "valid_rows" in rule:
        valid = extras.valid
        if valid is None or valid.shape != stored.shape[: valid.ndim]:
            got = None if valid is None else tuple(valid.shape)
            raise DataError(f"valid_rows {rule['valid_rows']!r} of shape {got} does not fit {tuple(stored.shape)}")
        keep &= valid.bool().reshape(*valid.shape, *[1] * (stored.ndim - valid.ndim))
        notes.append(f"{int((~valid.bool()).sum())} padded rows left out")
    if "ignored_rows" in rule:
        rows = [int(number) for number in rule["ignored_rows"]]
        if not stored.ndim or any(not 0 <= number < stored.shape[0] for number in rows):
            raise DataError(f"ignored_rows {rows} do not fit {tuple(stored.shape)}")
        keep[rows] = False
        notes.append(f"{len(rows)} rows ignored")
    if "skip_where_raw_gradient_below" in rule and extras.raw_gradient is not None:
        gradient = extras.raw_gradient.detach().cpu()
        if gradient.shape != stored.shape:
            raise DataError(f"raw gradient of shape {tuple(gradient.shape)} does not fit {tuple(stored.shape)}")
        tiny = gradient.abs() < float(rule["skip_where_raw_gradient_below"])
        keep &= ~tiny
        if tiny.any():
            notes.append(f"{int(tiny.sum())} entries with a tiny raw gradient left out")
    return keep, ", ".join(notes)


def _by_rule(name: str, stored: Tensor, computed: Tensor, rule: Mapping[str, Any], keep: Tensor) -> Row:
    if rule["kind"] in ("cosine_sign_free", "partition"):
        rows = keep.flatten(1).all(1) if keep.ndim > 1 else keep
        return _KINDS[rule["kind"]](name, stored[rows], computed[rows], rule)
    if stored.is_floating_point():
        computed = computed.to(stored.dtype)
    elif computed.is_floating_point() and rule["kind"] == "exact":
        return Row(name, False, int(keep.sum()), detail=f"{computed.dtype} instead of {stored.dtype}")
    if rule["kind"] != "exact" or stored.is_floating_point():
        stored, computed = stored.double(), computed.double()
    else:
        stored, computed = stored.long(), computed.long()
    return _KINDS[rule["kind"]](name, stored[keep], computed[keep], rule)


def _exact(name: str, stored: Tensor, computed: Tensor, rule: Mapping[str, Any]) -> Row:
    same = stored == computed
    if stored.is_floating_point():
        same |= stored.isnan() & computed.isnan()
    return _row(name, stored.double(), computed.double(), ~same, rule)


def _absolute(name: str, stored: Tensor, computed: Tensor, rule: Mapping[str, Any]) -> Row:
    return _row(name, stored, computed, _differs(stored, computed, _bound(stored, rule)), rule)


def _relative_to_max(name: str, stored: Tensor, computed: Tensor, rule: Mapping[str, Any]) -> Row:
    return _row(name, stored, computed, _differs(stored, computed, _bound(stored, rule)), rule)


def _allclose(name: str, stored: Tensor, computed: Tensor, rule: Mapping[str, Any]) -> Row:
    return _row(name, stored, computed, _differs(stored, computed, _bound(stored, rule)), rule)


def _differs(stored: Tensor, computed: Tensor, bound: Tensor | float) -> Tensor:
    """True where two values are further apart than the bound, or where one is not finite and the other not the same."""
    both = stored.isfinite() & computed.isfinite()
    equal = (stored == computed) | (stored.isnan() & computed.isnan())
    far = (stored - computed).abs() > bound
    return torch.where(both, far, ~equal)


def _row(name: str, stored: Tensor, computed: Tensor, wrong: Tensor, rule: Mapping[str, Any]) -> Row:
    number = int(wrong.sum())
    allowed = int(rule.get("allowed_outliers", 0))
    not_finite = int((~computed.isfinite()).sum()) if rule.get("must_be_finite") else 0
    both = stored.isfinite() & computed.isfinite()
    difference = (stored - computed).abs()[both]
    largest = float(difference.max()) if difference.numel() else 0.0
    scale = _largest(stored)
    details = []
    if number:
        details.append(f"{number} of {wrong.numel()} differ" + (f", {allowed} allowed" if allowed else ""))
    if not_finite:
        details.append(f"{not_finite} values are not finite")
    return Row(
        name,
        passed=number <= allowed and not not_finite,
        compared=stored.numel(),
        max_absolute=largest,
        max_relative=largest / scale if scale else (0.0 if largest == 0 else float("inf")),
        detail=", ".join(details),
    )


def _cosine_sign_free(name: str, stored: Tensor, computed: Tensor, rule: Mapping[str, Any]) -> Row:
    """1 - |cos| of each row; the direction's sign is free."""
    old, new = stored.double().flatten(1), computed.double().flatten(1)
    cosine = (old * new).sum(1).abs() / (old.norm(dim=1) * new.norm(dim=1)).clamp(min=1e-300)
    distance = 1.0 - cosine
    wrong = ~(distance <= _number(rule, "tolerance"))  # also where it is nan
    number = int(wrong.sum())
    return Row(
        name,
        passed=number == 0,
        compared=stored.numel(),
        max_absolute=float(distance.max()) if distance.numel() else 0.0,
        detail=f"{number} of {len(wrong)} rows point elsewhere" if number else "",
    )


def _partition(name: str, stored: Tensor, computed: Tensor, rule: Mapping[str, Any]) -> Row:
    """Share of elements that agree under the best one-to-one relabelling."""
    from scipy.optimize import linear_sum_assignment  # with scikit-learn; not needed by most folders

    old = np.unique(stored.numpy().ravel(), return_inverse=True)[1].ravel()
    new = np.unique(computed.numpy().ravel(), return_inverse=True)[1].ravel()
    table = np.zeros((int(old.max(initial=-1)) + 1, int(new.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(table, (old, new), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    share = float(table[rows, columns].sum()) / max(len(old), 1)
    needed = _number(rule, "agreement")
    return Row(
        name,
        passed=share >= needed,
        compared=len(old),
        max_absolute=1.0 - share,
        detail=f"agreement {share:.4f}, needed {needed}",
    )


def _number(rule: Mapping[str, Any], key: str) -> float:
    if not isinstance(rule.get(key), int | float):
        raise DataError(f"comparison {rule['kind']!r} needs a number {key!r}", got=rule.get(key))
    return float(rule[key])


def _largest(values: Tensor) -> float:
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


_KINDS: dict[str, Callable[[str, Tensor, Tensor, Mapping[str, Any]], Row]] = {
    "exact": _exact,
    "absolute": _absolute,
    "relative_to_max": _relative_to_max,
    "allclose": _allclose,
    "cosine_sign_free": _cosine_sign_free,
    "partition": _partition,
}
