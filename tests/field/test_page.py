"""The page of this folder names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = {"molecules": 3, "graphs": 4, "audio": 5, "medical3d": 6, "pointcloud": 7}


def test_every_test_on_the_page_exists() -> None:
    rows = [line.split("|") for line in (HERE / "README.md").read_text("utf-8").splitlines() if line.startswith("| K")]
    assert [row[1].strip() for row in rows] == [f"K{number}" for number in range(1, 16)]
    core = {path.stem for path in (HERE.parent / "core").glob("test_*.py")}
    for row in rows:
        assert set(re.findall(r"`(test_\w+)`", row[3])) <= core
        for domain, column in COLUMNS.items():
            beside = (HERE.parent / domain).glob("test_*.py")  # a kind may be held where its part is tested
            texts = [path.read_text("utf-8") for path in (*HERE.glob(f"test_{domain}*.py"), *beside)]
            missing = [
                name
                for name in re.findall(r"`(test_\w+)`", row[column + 1])
                if not any(f"def {name}(" in one for one in texts)
            ]
            assert not texts or not missing, f"{row[1].strip()} {domain}: {missing}"
