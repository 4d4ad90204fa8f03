"""Whether a checkpoint is of this run and of these settings: what lies beside it can be edited or exchanged by hand.

A checkpoint carries the run's identity (drawn at its start, kept in ``environment.json``), the settings that
``config.json`` resolved to, and a hash of the fitted preprocessor. Going on compares all three. The data are compared
by their content (:mod:`repcore.data.identity`), and so are teachers; where they lie may change.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from repcore.checkpoints.content import content_of_file
from repcore.config.yaml import parse_override
from repcore.data.memory import MEMORY
from repcore.errors import ConfigError, RunError
from repcore.files import is_left_by_a_system
from repcore.launching import place
from repcore.training.run_folder import RunFolder

IDENTITY = "run"  # in environment.json
FREE = frozenset({
    "data.rows", "data.workers", "dataset.cache_mib", "dataset.path", "objective.previous", "objective.teacher",
    "objective.teacher_path", "trainer.activation_checkpointing", "trainer.checkpoint_every", "trainer.compile",
    "trainer.compile_backend", "trainer.compile_limit", "trainer.log_every", "trainer.loggers",
    "trainer.meeting_limit", "trainer.on_preempt", "trainer.threads",
})  # fmt: skip
"""Settings that say where and how a run is made, not what is learned; of ``data.rows`` the chosen ids are compared, of
data and of models that an objective reads (:class:`repcore.nn.Frozen`) the content."""
PROCESSES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.accumulate")
"""Followed from the launcher when a run goes on (:func:`repcore.training.processes.shared_step`)."""
ORDER = 2
"""Of the rows and draws of a run: raised when the same settings give them in another order. 2: micro-batches of a step
are dealt out to the processes in turn, and drawn for by their number among all."""
SHOWN = 8
LONGEST = 60
Plain = Mapping[str, Any]


def new_identity() -> str:
    """What tells one run from all others."""
    return uuid.uuid4().hex


def carried(folder: RunFolder, settings: Plain) -> dict[str, Any]:
    """What the checkpoints of a run carry of it.

    Args:
        settings: as ``config.json`` says them, before a launcher's number of processes is followed.
    """
    known = folder.read_json("environment.json")
    return {
        "identity": str(known.get(IDENTITY, "")) if isinstance(known, Mapping) else "",
        "name": folder.path.name,
        "settings": dict(settings),
        "preprocessing": _files_of(folder.preprocessing),
        "order": ORDER,
    }


def check_carried(found: Any) -> None:  # whatever a file holds
    """The kinds of what a checkpoint carries.

    Raises:
        ValueError: another kind stands there.
    """
    if found is None:  # of a checkpoint from before it was carried
        return
    kinds = {"identity": str, "name": str, "settings": Mapping, "preprocessing": Mapping}
    wrong = [
        key for key, kind in kinds.items() if not isinstance(found, Mapping) or not isinstance(found.get(key), kind)
    ]
    if wrong:
        raise ValueError(f"what it says of its run has no {wrong[0]}")


def other_order(found: Plain | None, settings: Plain) -> str:
    """What is different from a checkpoint's step on, where an older version wrote it; empty where nothing is.

    Args:
        found: as in :func:`check_same_run`.
        settings: as in :func:`carried`.
    """
    trainer = settings["trainer"]
    world = place().world or int(trainer.get("devices", 1)) * int(trainer.get("num_nodes", 1))
    micro_batches = int(trainer.get("accumulate", 1)) * world
    if micro_batches < 2 or (found is not None and found.get("order") == ORDER):
        return ""
    return (
        f"another version of repcore wrote it, which dealt the {micro_batches} micro-batches of a step out otherwise: "
        "from here on rows and draws come in this version's order, so the run does not end as it would have; where "
        "batches are formed by cost, some rows of this epoch come twice or not at all"
    )


def check_same_run(path: Path, found: Plain | None, own: Plain, folder: RunFolder) -> None:
    """Whether a checkpoint was written by this run.

    Args:
        found: what the checkpoint carries; None = of a version that carried nothing.
        own: of :func:`carried`.

    Raises:
        RunError: names the run that wrote it.
    """
    if found is None or not found["identity"] or not own["identity"] or found["identity"] == own["identity"]:
        return
    raise RunError(
        f"{path} is a checkpoint of another run ({_short(found['name'])}), not of {folder.path}",
        hint="put the run's own checkpoint back; without last.ckpt a run goes on from its previous.ckpt",
    )


def check_same_settings(path: Path, found: Plain | None, own: Plain, folder: RunFolder, other_data: bool) -> str:
    """Whether a run goes on with the settings that its checkpoint was written with.

    Args:
        found / own: as in :func:`check_same_run`.
        other_data: the data may differ, and so may the way in which they are read.

    Returns:
        Settings that differ and change nothing of what is learned, in words; empty if none does.

    Raises:
        RunError: others differ; names each with its value then and now.
    """
    if found is None:
        return ""
    written = folder.read_json("config.json")
    known = written if isinstance(written, Mapping) else own["settings"]
    differing = list(_differing(found["settings"], own["settings"], known))
    names = [found["settings"].get("dataset"), own["settings"].get("dataset")]
    if other_data or any(isinstance(one, Mapping) and one.get("name") == MEMORY for one in names):
        differing = [one for one in differing if not one[0].startswith("dataset.")]
    bound = [one for one in differing if one[0] not in FREE]
    if bound:
        raise RunError(
            f"the settings of {folder.path} are not those that {path.name} was written with",
            changed=_in_words(bound),
            file=folder.path / "config.json",
            hint="put them back; other settings are a new run: RECIPE NAME=VALUE, from a model --init-from MODEL",
        )
    files = sorted({*found["preprocessing"], *own["preprocessing"]})
    other = [one for one in files if found["preprocessing"].get(one) != own["preprocessing"].get(one)]
    other = [one for one in other if not is_left_by_a_system(Path(one).name)]
    if other:
        raise RunError(
            f"the fitted preprocessor of {folder.path} is not the one that {path.name} was written with",
            changed=", ".join(str(folder.preprocessing / _short(one)) for one in other[:SHOWN]),
            hint="put the files back, or start a new run",
        )
    return _in_words(differing)


def with_free(plain: Plain, overrides: Iterable[str], folder: RunFolder) -> dict[str, Any]:
    """Settings of a run with those that a command that goes on with it may give.

    Args:
        plain: as ``config.json`` has them. overrides: ``key.sub=value`` texts.

    Raises:
        ConfigError: one decides what is learned.
    """
    changed = {key: dict(one) if isinstance(one, Mapping) else one for key, one in plain.items()}
    for text in overrides:
        name, value = parse_override(text)
        section, _, key = name.partition(".")
        if name not in FREE or not isinstance(changed.get(section), dict):
            raise ConfigError(
                f"--resume goes on with the run's own settings and takes no others ({_short(text)})",
                expected=f"what changes nothing of what is learned: {', '.join(sorted(FREE))}",
                hint=f"with N processes: torchrun --nproc-per-node N -m repcore DOMAIN train --resume {folder.path}"
                if name in PROCESSES
                else f"to change settings, start a new run with --init-from {folder.model}",
            )
        changed[section][key] = value
    return changed


def _differing(then: Plain, now: Plain, written: Plain, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted names of settings with two values; a part that has become another one is told by its name only.

    Args:
        written: what ``config.json`` says of ``now`` itself. What neither it nor ``then`` knows is a setting of a
            later version, in both at its default.
    """
    if prefix and then.get("name") != now.get("name"):
        yield f"{prefix}name", then.get("name"), now.get("name")
        return
    for key in [*then, *(key for key in now if key not in then and key in written)]:
        old, new, own = then.get(key), now.get(key), written.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differing(old, new, own if isinstance(own, Mapping) else new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _in_words(differing: list[tuple[str, Any, Any]]) -> str:
    said = [f"{name} {_short(old)} -> {_short(new)}" for name, old, new in differing[:SHOWN]]
    return "; ".join(said) + (f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else "")


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _files_of(folder: Path) -> dict[str, str]:
    """Hash of the content of each file below a folder, by name."""
    if not folder.is_dir():
        return {}
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not is_left_by_a_system(path.name))
    return {path.relative_to(folder).as_posix(): content_of_file(path) for path in found}
