"""What a run has really been trained on: kept in ``environment.json`` from its start, and told by the model card.

A data set is named as it was given (path or registered name, with the reader's settings), with its rows, the
fingerprint of its content and its licence. A run that went on with data in another place, or with other data, names
each of them with its steps; a run that began with a model's weights names that model and what it was trained on.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from repcore.training.assembly import RunParts
from repcore.training.run_folder import RunFolder

UNKNOWN_LICENCE = "not known"
Facts = Mapping[str, Any]


def data_facts(parts: RunParts) -> dict[str, Any]:
    """The data of a run as JSON values."""
    part = parts.resolved.dataset
    return {
        **part.plain(),
        "rows": {"all": len(parts.reader), "train": len(parts.train), "validation": len(parts.validation)},
        "fingerprint": parts.reader.fingerprint,
        "licence": part.entry.spec.licence or UNKNOWN_LICENCE,
    }


def with_data(records: Sequence[Facts], facts: Facts, step: int) -> list[dict[str, Any]]:
    """The data of a run by the step from which on it used them, after going on with ``facts`` at ``step``.

    Records whose steps are made again are dropped: nothing of those data is in the weights.
    """
    kept = [dict(one) for one in records if int(one["step"]) < step]
    if kept and {**kept[-1], "step": step} == {**facts, "step": step}:
        return kept
    return [*kept, {**facts, "step": step}]


def note_data(parts: RunParts, folder: RunFolder, step: int) -> None:
    """Write down with which data a resumed run goes on."""
    known = folder.read_json("environment.json") or {}
    records = with_data(known.get("data", []), data_facts(parts), step)
    if records != known.get("data"):
        folder.write_json("environment.json", {**known, "data": records})


def begun_by(folder: RunFolder) -> dict[str, list[str]]:
    """``command``: the arguments that the run was begun with, whatever has gone on with it since."""
    known = folder.commands()
    return {"command": known[0]} if known and known[0] else {}


def card_command(folder: RunFolder) -> dict[str, Any]:
    """The command that began the run, for the model card, and how often another one went on with it."""
    known = folder.commands()
    if not known or not known[0]:
        return {}
    again = {"resumed": f"{len(known) - 1} time{'s' if len(known) > 2 else ''}"} if len(known) > 1 else {}
    return {"command": shlex.join(["repcore", *known[0]]), **again}


def card_data(parts: RunParts, folder: RunFolder, steps: int) -> dict[str, Any]:
    """Facts for the section about data of the model card.

    Args:
        steps: that the run has made.
    """
    known = folder.read_json("environment.json") or {}
    records = known.get("data") or [{**data_facts(parts), "step": 0}]
    named = [{key: value for key, value in one.items() if key != "step"} for one in records]
    if len(named) == 1:
        data: Any = named[0]
    else:
        ends = [*(int(one["step"]) for one in records[1:]), steps]
        data = {
            f"steps {int(one['step']) + 1} to {end}": facts
            for one, end, facts in zip(records, ends, named, strict=True)
        }
    begun = known.get("began_with") or parts.began_with
    return {"data": data, **({"began_with": dict(begun)} if begun else {})}
