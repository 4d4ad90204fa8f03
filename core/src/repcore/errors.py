"""Every error that repcore raises on purpose, and the one way their messages are built.

    RepcoreError
    ├── ConfigError        (ValueError)    a setting is unknown, of the wrong type or out of range
    ├── RegistryError      (KeyError)      no such encoder, objective, recipe, ...
    ├── PluginError        (ImportError)   a plugin is missing, broken or incompatible
    ├── CheckpointError    (ValueError)    weights do not fit, or the file is unsafe or damaged
    ├── DataError          (ValueError)    data cannot be read or does not have what was asked for
    │   └── ItemError                      one item only: becomes a reported row, never stops a run
    ├── ShapeError         (ValueError)    a tensor has the wrong shape or dtype
    └── RunError           (RuntimeError)  training or evaluation cannot go on

A message is one line that names the user's own value, followed by at most a few labelled facts::

    RegistryError: no encoder 'pointcloud/i2p-mea'
      did you mean: pointcloud/i2p-mae
      installed:    pointcloud/fac, pointcloud/i2p-mae

Each class also inherits the built-in that ordinary handlers expect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from repcore.untrusted import printable

LONGEST = 4000  # characters of a line of a message; a received value may have megabytes
LONGEST_LIST = 1000  # characters of a line with a list; data may have thousands of labels, classes, columns
LIST_ENDS = 200

ARGUMENTS = {
    one: one.replace("-", "_")
    for one in (
        "allow-changed-data", "allow-namespace", "batch-size", "classes", "coverage", "data", "device", "dtype",
        "ensemble", "entry", "folds", "from-config", "group", "id-column", "ignore", "init-from",
        "keep-copies-together", "label", "labels", "layer", "layers", "layout", "level", "mix", "name", "out", "pool",
        "preset", "reader", "resume", "seeds", "split", "task", "tokens", "vocabulary", "workers",
    )
} | {"protocol": "protocols", "with": "joined"}  # fmt: skip
"""Options of commands that calls from Python take as well, and the name of the argument."""
WRAPPED = {
    "cost-budget": "options=InferenceOptions(cost_budget={})",
    "dim": "options=InferenceOptions(dim={})",
    "item-timeout": "options=InferenceOptions(item_timeout={})",
    "windows": "options=InferenceOptions(apart=True)",
}
"""Options that stand in an argument together with others."""
_OPTION = re.compile(
    r"--([a-z][a-z-]*)"
    r"(?:[ =]([A-Z][A-Z@]+\b|cpu\b|cuda\b|random\b|\d[\w.,%]*|[\w-]+@\d+|[a-z0-9-]+/[\w-]+|[a-z_]+=[^\s,;)]*))?"
)
_IN_A_COMMAND = re.compile(r"\b(repcore|pip install|ray start|command)\b[^,;:()]*$")
_OF_LIBRARIES = re.compile(
    r"\[enforce fail at [^\]\n]*\] (?:err == 0\. )?|; use sys\.set_int_max_str_digits\(\) to increase the limit"
)
"""Places in the code of libraries, and their advice to programmers, in texts that are handed on."""
_shells = 0


@contextmanager
def told_to_a_shell() -> Iterator[None]:
    """Messages are for somebody who types commands: options need no word about Python."""
    global _shells
    _shells += 1
    try:
        yield
    finally:
        _shells -= 1


def _as_arguments(text: str) -> list[str]:
    """Arguments of calls from Python that mean what the options in a message mean; commands are left as they are."""
    found = []
    for one in _OPTION.finditer(text):
        option, value = one[1], one[2]
        if _IN_A_COMMAND.search(text[: one.start()]):
            continue
        key, sign, setting = (value or "").partition("=")
        if option == "read":
            found.append(f'read={{"{key or "NAME"}": {_as_value(setting)}}}')
        elif option == "option" and sign:
            found.append(f"{key}={_as_value(setting)}")
        elif option in WRAPPED:
            found.append(WRAPPED[option].format(value or "..."))
        elif option in ARGUMENTS:
            found.append(_as_argument(ARGUMENTS[option], value))
    return found


def _as_argument(name: str, value: str | None) -> str:
    if value is None:
        return name
    shown = value if value.isupper() or re.fullmatch(r"[\d.]+", value) else repr(value)
    return f"{name}=[{shown}]" if name == "protocols" else f"{name}={shown}"


def _as_value(text: str) -> str:
    """A setting's value as Python writes it; a placeholder stays one."""
    if text in ("", "...") or text.isupper():
        return text or "..."
    words = {"true": "True", "false": "False", "null": "None"}
    if text in words or re.fullmatch(r"-?[\d.]+|\[.*\]", text):
        return words.get(text, text)
    return " or ".join(f'"{one}"' for one in text.split("|"))


def shortened(text: str) -> str:
    """A text for one line: as it is, or without the middle of a long list in it, with their number, or the ends of a
    very long one."""
    if len(text) > LONGEST_LIST and "\n" not in text:
        text = _with_ends_of_lists(text)
    if len(text) <= LONGEST:
        return text
    left_out = len(text) - LONGEST
    return f"{text[: LONGEST - 500]} ... {left_out:,} characters left out ... {text[-500:]}"


def _with_ends_of_lists(text: str) -> str:
    """The items of a list that fit into ``LONGEST_LIST``, the last of them, and what stands around them."""
    items = text.split(", ")
    first = last = 0
    size = 0
    while first < len(items) and size + len(items[first]) <= LONGEST_LIST - LIST_ENDS:
        size += len(items[first]) + 2
        first += 1
    size = 0
    while first + last < len(items) and size + len(items[-1 - last]) <= LIST_ENDS:
        size += len(items[-1 - last]) + 2
        last += 1
    left_out = len(items) - first - last
    if left_out < 2 or not first or not last:
        return text
    return ", ".join([*items[:first], f"... {left_out:,} more ...", *items[len(items) - last :]])


def for_people(text: str) -> str:
    """A text of whatever origin as every error shows it: no character that commands a terminal, nothing about the
    insides of libraries."""
    return printable(_OF_LIBRARIES.sub("", text))


class RepcoreError(Exception):
    """Base of all errors with a composed message.

    Args:
        summary: one line with the user's own value in it.
        facts: labelled lines in reading order, for example ``field="mask_ratio"``; ``None`` and ``""`` are left out;
            an underscore in a label is shown as a blank. By custom the last one is ``hint``, shown as ``try:``.
    """

    def __init__(self, summary: str, **facts: object) -> None:
        self.summary = summary
        self.facts = {key: value for key, value in facts.items() if value not in (None, "")}
        super().__init__(self.render())

    def render(self) -> str:
        """The whole message without the class name."""
        facts = dict(self.facts)
        if not _shells and "--" in (said := "; ".join([self.summary, *map(str, facts.values())])):
            facts["in Python"] = ", ".join(dict.fromkeys(_as_arguments(shortened(said))))
        texts = {for_people(key): for_people(str(value)) for key, value in facts.items() if value != ""}
        labels = {key: ("try" if key == "hint" else key.replace("_", " ")) + ":" for key in texts}
        width = max((len(label) for label in labels.values()), default=0)
        indent = "\n" + " " * (width + 3)
        shown = {key: shortened(value).replace("\n", indent) for key, value in texts.items()}
        return "\n".join(
            [shortened(for_people(self.summary)), *(f"  {labels[key]:<{width}} {text}" for key, text in shown.items())]
        )

    def in_one_line(self) -> str:
        """For a cell of a table: ``no such class 'x'; known: a, b; try: --format ply``."""
        words = (" ".join(part.split()) for part in self.render().splitlines())
        return "; ".join(part for part in words if part)

    def __str__(self) -> str:  # KeyError would show the repr
        return self.render()

    def __reduce__(self) -> tuple[object, ...]:  # crosses process borders (data workers) with its facts
        return (_rebuild, (type(self), self.summary, self.facts))


def _rebuild(kind: type[RepcoreError], summary: str, facts: dict[str, object]) -> RepcoreError:
    return kind(summary, **facts)


class ConfigError(RepcoreError, ValueError):
    """A setting is unknown, of the wrong type or outside its range."""


class RegistryError(RepcoreError, KeyError):
    """A name is not registered."""


class NotInstalledError(RegistryError):
    """A name of a first-party plugin that is not installed."""


class PluginError(RepcoreError, ImportError):
    """A plugin is missing, broken, incompatible, or its code does not keep the contract."""


class CheckpointError(RepcoreError, ValueError):
    """A weights file does not fit, is damaged, or is not safe to read."""


class DataError(RepcoreError, ValueError):
    """Data cannot be read, or lacks what was asked for."""


class ItemError(DataError):
    """One item cannot be used; core turns it into a row with ``status`` and ``reason`` and goes on.

    Args:
        status: short machine-readable word such as ``invalid_smiles``.
        reason: sentence for a person; lines are joined.
    """

    def __init__(self, status: str, reason: str) -> None:
        self.status = status
        lines = (line.strip() for line in reason.splitlines())  # libraries write pages
        self.reason = shortened(for_people(" ".join(line for line in lines if line)))
        super().__init__(f"{status}: {self.reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return (ItemError, (self.status, self.reason))


class ShapeError(RepcoreError, ValueError):
    """A tensor has the wrong rank, size or dtype."""


class RunError(RepcoreError, RuntimeError):
    """A run cannot start, resume or go on."""


def closest(name: str, known: Iterable[str], count: int = 1) -> str:
    """The most similar known names, comma separated; empty if none is near."""
    from difflib import get_close_matches  # only wanted once something went wrong

    return ", ".join(get_close_matches(name, list(known), n=count, cutoff=0.6))


def require_known(given: Iterable[str], known: Iterable[str], what: str, *, hint: str = "") -> None:
    """Refuse names that nobody knows, with the nearest that is known: options, settings, columns.

    Args:
        given: what the user typed.
        known: what there is.
        what: in words, for example ``"option of audio/ssamba"``.

    Raises:
        ConfigError: names the first unknown one.
    """
    names = list(known)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ConfigError(
            f"{unknown[0]!r} is no {what}",
            did_you_mean=closest(unknown[0], names),
            also_unknown=", ".join(repr(name) for name in unknown[1:]),
            known=", ".join(sorted(names)) or "none",
            hint=hint,
        )


def errors_behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from or during; each once, for a chain may end in a circle."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
