"""The README.md of a model folder: what the model is, from what, how well, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from repcore.checkpoints.places import NAMED
from repcore.untrusted import link_or_text, markdown, paragraphs

_NOT_RECORDED = "Not recorded."
MOST_NAMES = 20  # of classes


def model_card(
    title: str,
    *,
    card: Mapping[str, Any],
    dim: int,
    parameters: int,
    requirements: Sequence[str],
    target: Mapping[str, Any] | None = None,
) -> str:
    """Markdown text of a card.

    Args:
        title: encoder name.
        card: facts by name; those a section knows go there, all others under "Training".
        dim: width of the vectors.
        parameters: number of parameters.
        requirements: distributions with versions that built the model.
        target: what a fine-tuned model answers (name, kind, level, names of classes, unit).

    Returns:
        the whole document. A section without facts says so instead of vanishing.
    """
    rest = dict(card)
    summary = rest.pop("summary", "")
    paper, licence, notices = (rest.pop(key, "") for key in ("paper", "licence", "notices"))
    data = _facts({key: rest.pop(key) for key in ("training_data", "data", "rows", "began_with") if key in rest})
    limits = rest.pop("limits", None) or ()
    intended, name = rest.pop("intended_use", ""), str(rest.pop("installed_as", ""))
    judged = ("figures", "baselines_by_other_probes", "validation", "diagnostics", "probes")
    diagnostics = _facts({key: rest.pop(key) for key in judged if key in rest})
    title = markdown(title)
    what = [
        markdown(str(summary)) if summary else f"Weights of {title}.",
        f"{parameters:,} parameters, vectors of {dim} numbers.",
    ]
    what += [f"Fine-tuned: it answers {_answers(target)}."] if target else []
    what += [f"Intended use: {markdown(str(intended))}"] if intended else []
    what += [f"Paper: {link_or_text(str(paper))}"] if paper else []
    sections = {
        "What it is": "\n\n".join(what),
        "Data": data or _NOT_RECORDED,
        "Training": _facts(rest) or _NOT_RECORDED,
        "Diagnostics": diagnostics or _NOT_RECORDED,
        "How to load": _how_to_load(requirements, target, name if NAMED.fullmatch(name) else "PATH/OF/THIS/FOLDER"),
        "Licence and notices": "\n\n".join(paragraphs(str(text)) for text in (licence, notices) if text)
        or _NOT_RECORDED,
        "Limits": _limits([limits] if isinstance(limits, str) else limits, target),
    }
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
    return f"# {title}\n\n{body}\n"


def _facts(facts: Mapping[str, Any], indent: int = 0) -> str:
    """A nested list of facts; empty ones are left out."""
    lines = []
    for key, value in facts.items():
        if value in (None, "", [], {}, ()):
            continue
        name = markdown(str(key) if "." in str(key) else str(key).replace("_", " "))  # file names keep underscores
        label = f"{' ' * indent}- {name}:"
        if isinstance(value, Mapping):
            lines += [label, _facts(value, indent + 2)]
        elif isinstance(value, list | tuple):
            lines.append(f"{label} {', '.join(_show(part) for part in value)}")
        else:
            lines.append(f"{label} {_show(value)}")
    return "\n".join(line for line in lines if line)


def _show(value: Any) -> str:  # any JSON value
    return f"{value:.6g}" if isinstance(value, float) else markdown(str(value))


def _answers(target: Mapping[str, Any]) -> str:
    """``kind (class of items: ring, line, cloud)``."""
    names = [str(one) for one in target.get("names") or ()]
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    unit = f" in {target['unit']}" if target.get("unit") else ""
    words = f"{target.get('kind', 'value')} of each {target.get('level', 'item')}{unit}{': ' if names else ''}{shown}"
    return markdown(f"{target.get('name', '')} ({words})")


def _how_to_load(requirements: Sequence[str], target: Mapping[str, Any] | None, name: str) -> str:
    with_versions = ", ".join(requirements) or _NOT_RECORDED
    output = "predictions.csv" if not target or target.get("level", "item") == "item" else "answers/"
    answers = 'answers = model.predict("DATA")\n' if target else ""
    commands = [f"`repcore predict {name} DATA -o {output}`"] if target else []
    commands.append(f"`repcore embed {name} DATA -o vectors.parquet`")
    return (
        "```python\nimport repcore\n\n"
        f'model = repcore.load("{name}")\n{answers}vectors = model.embed("DATA")\n```\n\n'
        f"or {', '.join(commands)}. "
        f"The weights are plain safetensors and the settings plain JSON. Written with: {with_versions}."
    )


def _limits(limits: Sequence[str], target: Mapping[str, Any] | None) -> str:
    own = [
        "Fine-tuned on labels: its answers are no better than these were, and its scores are of rows like those."
        if target
        else "Trained without labels: measure what its vectors are good for on the task at hand (`repcore probe`).",
        "Inputs unlike the training data may be placed anywhere.",
    ]
    return "\n".join(f"- {text}" for text in (*map(markdown, map(str, limits)), *own))
