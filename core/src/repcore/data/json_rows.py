"""Objects of JSON lists: a list, ``{"data": [...]}``, an object of objects, or one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repcore.data.encodings import whole_text
from repcore.errors import DataError
from repcore.files import parse_json


def json_rows(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON list, of ``{"data": [...]}``, or one a line.

    Raises:
        DataError: not JSON, or no list of objects.
    """
    try:
        text = whole_text(path)
        try:
            content = parse_json(text)
        except ValueError:
            lines = [line for line in text.splitlines() if line.strip()]
            if len(lines) < 2:
                raise
            content = [parse_json(line) for line in lines]
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is not JSON: {error}") from error
    rows = content.get("data") if isinstance(content, dict) and "data" in content else content
    if isinstance(rows, dict) and len(rows) > 1 and all(isinstance(row, dict) for row in rows.values()):
        rows = [{"id": key, **row} for key, row in rows.items()]  # as SpeechBrain writes it
    rows = [rows] if isinstance(rows, dict) and rows and path.suffix.lower() != ".json" else rows
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{path.name} holds no list of objects", expected='{"data": [{"file_name": "a.wav", "label": "dog"}]}'
        )
    return rows
