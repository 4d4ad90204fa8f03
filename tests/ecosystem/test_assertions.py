"""Every test says what must be so: a test that only runs code is green whatever the code gives."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

EXPECTATIONS = {"raises", "warns", "fail", "deprecated_call"}  # of pytest
CHECKS_OF_THE_KIT = "parametrize_checks"  # its decorator hands the test a check that raises where the plugin is wrong


def written_tests(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    yield from (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"))


def functions_of(tree: ast.Module) -> dict[str, ast.AST]:
    return {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}


def expects(node: ast.AST, known: dict[str, ast.AST], seen: frozenset[str] = frozenset()) -> bool:
    """Whether an assertion stands in a function, or in one of the same file that it calls."""
    for one in ast.walk(node):
        if isinstance(one, ast.Assert):
            return True
        if not isinstance(one, ast.Call):
            continue
        owner, _, name = ast.unparse(one.func).rpartition(".")
        if name.startswith("assert_") or (owner == "pytest" and name in EXPECTATIONS):
            return True
        called = known.get(name) if not owner and name not in seen else None
        if called is not None and expects(called, known, seen | {name}):
            return True
    return False


def silent(source: str) -> list[str]:
    """Names of the tests of a file that assert nothing."""
    tree = ast.parse(source)
    known = functions_of(tree)
    return [
        one.name
        for one in written_tests(tree)
        if not expects(one, known) and CHECKS_OF_THE_KIT not in "".join(map(ast.unparse, one.decorator_list))
    ]


def test_no_test_without_an_assertion() -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 100
    found = [f"{path.relative_to(ROOT)}: {name}" for path in files for name in silent(path.read_text(encoding="utf-8"))]
    assert not found, found


@pytest.mark.parametrize(
    ("body", "asserts"),
    [
        ("work()", False),
        ("assert work() == 3", True),
        ("with pytest.raises(ValueError):\n        work()", True),
        ("torch.testing.assert_close(work(), 3)", True),
        ("holds()", True),
        ("again()", False),
        ("thing.holds()", False),
    ],
)
def test_what_counts_as_an_assertion(body: str, asserts: bool) -> None:
    helpers = "def holds():\n    assert work()\ndef again():\n    again()\n"
    assert (silent(f"{helpers}def test_one():\n    {body}\n") == []) is asserts


def test_checks_of_the_kit_count() -> None:
    assert silent("@parametrize_checks('a')\ndef test_one(check):\n    check()\n") == []
    assert silent("@other('a')\ndef test_one(check):\n    check()\n") == ["test_one"]
