"""What a page of a report holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from repcore.report.build import build_report


def page_of(folder: Path) -> str:
    return build_report(folder).read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.S)
    assert found
    loaded: dict[str, Any] = json.loads(found[1], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    return loaded
