"""The kinds of everything that the JSON files of a model folder hold, compared in one place before any of it is used.

A received file may hold anything. What the settings of an encoder or preprocessor may be is known by their plugins and
compared when they are built; the frame around them is compared here. So is what was changed by hand: settings that
keep every shape (a number of heads, a threshold) would give other answers without a word.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from repcore.errors import CheckpointError, shortened
from repcore.files import parse_json

LONGEST_SHOWN = 80
MOST_MEMBERS = 10_000
SETTINGS = {
    "encoder": "encoder settings",
    "preprocessor": "preprocessor settings",
    "task": "task (settings, target or facts)",
    "changes": "changes of the encoder",
    "tied": "names of tied tensors",
}
"""What changes answers in ``config.json``, by its key, in words."""
DECLARED = {"dim": "width of the vectors", "widths": "widths of vectors by pooling, level and layer"}
"""What ``config.json`` says of the answers; its hashes came later, folders without them are read."""
SETTINGS_KEY, PREPROCESSING_KEY = "config.json#{}", "preprocessing.json"  # in ``content``, beside the weights


def stays_inside(name: str) -> bool:
    """Whether a name, put behind a folder, leads to something in that folder, on any system."""
    parts = PureWindowsPath(name).parts  # takes both slashes
    windows = PureWindowsPath(name)
    is_rooted = bool(windows.drive or windows.root) or PurePosixPath(name).is_absolute()
    return bool(parts) and not is_rooted and ".." not in parts and "\0" not in name


def check_config(path: Path, content: Mapping[str, Any]) -> None:
    """Compare ``config.json`` with what it has to be.

    Raises:
        CheckpointError: names the first key of a wrong kind, its value, and what was expected.
    """
    _compare(path, content, _shapes()[0])


def check_preprocessing(path: Path, content: Mapping[str, Any]) -> None:
    """The same of ``preprocessing.json``."""
    _compare(path, content, _shapes()[1])


def settings_content(config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> dict[str, str]:
    """Hash of everything beside the weights that changes answers or describes them, by its key in ``content``.

    Args:
        config / preprocessing: what is written to the two files.
    """
    found = {SETTINGS_KEY.format(key): _json_sha256(config.get(key)) for key in (*SETTINGS, *DECLARED)}
    return {**found, PREPROCESSING_KEY: _json_sha256(preprocessing)}


def check_settings(path: Path, config: Mapping[str, Any]) -> None:
    """Whether ``config.json`` says what the model was saved with; folders from before this was recorded are told of.

    Raises:
        CheckpointError: it was changed since; names the part.
    """
    content = config.get("content") or {}
    if not any(SETTINGS_KEY.format(key) in content for key in SETTINGS):
        if content:  # without any hash the weights have said so already
            warnings.warn(
                f"{path} holds no hash of its settings: nobody would notice a changed one "
                "(repcore.load(FOLDER).save(NEW) records it)",
                stacklevel=3,
            )
        return
    refuse_changed(path, config)


def refuse_changed(path: Path, config: Mapping[str, Any]) -> None:
    """:func:`check_settings` without a word about folders that have no hash; cheap, before anything is built.

    Raises:
        CheckpointError: it was changed since; names the part.
    """
    content = config.get("content") or {}
    if not any(SETTINGS_KEY.format(key) in content for key in SETTINGS):
        return
    for key, words in SETTINGS.items():
        if content.get(SETTINGS_KEY.format(key)) != _json_sha256(config.get(key)):
            raise _edited(path, words, key)
    for key, words in DECLARED.items():
        if content.get(SETTINGS_KEY.format(key), "") not in ("", _json_sha256(config.get(key))):
            raise _edited(path, words, key)


def check_prepared(path: Path, preprocessing: Mapping[str, Any], content: Mapping[str, str] | None) -> None:
    """The same of ``preprocessing.json``; :func:`check_settings` tells of folders without the hash."""
    expected = (content or {}).get(PREPROCESSING_KEY)
    if expected is not None and expected != _json_sha256(preprocessing):
        raise _edited(path, "state of the preprocessor", "")


def _edited(path: Path, words: str, key: str) -> CheckpointError:
    return CheckpointError(
        f"{path} was changed since the model was saved: {words}",
        key=key,
        hint="put the file back, or fetch the folder again; other settings are another model, which training makes",
    )


def _json_sha256(value: Any) -> str:  # a JSON value, or what becomes one
    """Hash of a value as it comes back from a file, whatever its layout there."""
    read_back = parse_json(json.dumps(value))
    return hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()


def _compare(path: Path, content: Mapping[str, Any], shape: Any) -> None:
    from pydantic import ValidationError

    try:
        shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(one) for one in first["loc"] if one != "[key]")
        hint = "fetch the folder again, or save the model again"
        if first["type"] == "missing":
            raise CheckpointError(f"{path} lacks {key}", hint=hint) from None
        shown = shortened(repr(first["input"]))
        shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
        raise CheckpointError(f"{path}: {key} is {shown}", expected=first["msg"], hint=hint) from None


@lru_cache(maxsize=1)
def _shapes() -> tuple[Any, Any]:
    """pydantic models of the two files; made when a folder is read, for the import takes its time."""
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

    def inside(name: str) -> str:
        if not stays_inside(name):
            raise ValueError("a name within the folder, without '..'")
        return name

    def plain(name: str) -> str:
        if not stays_inside(name) or len(PureWindowsPath(name).parts) > 1:
            raise ValueError("one word")
        return name

    class Open(BaseModel):
        """Strict in the kinds of the keys that are named; others may be there."""

        model_config = ConfigDict(extra="allow", strict=True)

    many: Any = list  # of kinds that are made here
    by_name: Any = dict
    bounded: Any = Annotated
    values: Any = dict[str, Any]
    count: Any = bounded[int, Field(ge=0)]
    digests: Any = by_name[bounded[str, AfterValidator(inside)], str]

    def shape(title: str, /, **fields: Any) -> Any:
        """A model; a field is a kind that has to be there, or a pair of a kind and what counts without it."""
        pairs: Any = {key: one if isinstance(one, tuple) else (one, ...) for key, one in fields.items()}
        return create_model(title, __base__=Open, **pairs)

    part = shape("Part", name=str)
    target = shape("Target", name=str, kind=str, level=(str, ""), names=(list[str], []), unit=(str, ""),
                   ignore=(int | None, None), ids=(list[int], []))  # fmt: skip
    facts = shape("Facts", members=(bounded[count, Field(le=MOST_MEMBERS)], 0), temperature=(float, 1.0),
                  thresholds=(list[float], []), conformal=(list[list[float]], []))  # fmt: skip
    task = shape("Task", name=str, settings=(values, {}), target=target, facts=(facts, {}))
    run = shape("Run", dataset=(values | None, None), data=(values | None, None))
    config = shape(
        "Config", format=int, encoder=part, preprocessor=part, task=(task | None, None), changes=(many[part], []),
        repcore=(str, ""), plugins=(by_name[str, values], {}), dim=(count | None, None),
        widths=(shape("Widths", poolings=by_name[str, count], levels=by_name[str, count], layers=by_name[str, count])
                | None, None),
        branch=(bounded[str, AfterValidator(plain)], "default"), tied=(dict[str, str], {}), card=(values, {}),
        origin=(shape("Origin", run=(run | None, None)), {}), content=(digests, {}),
    )  # fmt: skip
    return config, shape("Preprocessing", format=(int, 1), state=(values, {}), files=digests, content=(digests, {}))
