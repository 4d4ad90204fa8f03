"""Listing, help and health stay quick: nothing heavy is imported, and 0.3 s is enough with every plugin installed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

import pytest

from repcore.testing import limits

HEAVY = (
    "torch",
    "lightning",
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "pyarrow",
    "pydantic",
    "monai",
    "torch_geometric",
    "torchaudio",
    "rdkit",
    "selfies",
    "tokenizers",
    "transformers",
    "spconv",
    "plotly",
    "jinja2",
    "nibabel",
    "soundfile",
    "rich",
)
SLOW = {"lightning", "monai", "torch_geometric", "torchaudio", "transformers", "scipy.ndimage", "sklearn"}
ASKED = """
import sys
from repcore.registry import default

for entry in default().entries({kind!r}):
    if entry.spec.sniff:
        entry.load("sniff")
print({heavy!r} & set(sys.modules))
"""
LIMIT_SECONDS = 0.3
COMMANDS = {
    "list": ["list"],
    "list-json": ["list", "--json"],
    "help": ["--help"],
    "plugins": ["plugins"],
    "show": ["show", "linear@1"],
    "list-models": ["list", "models"],
    "list-help": ["list", "--help"],
    "version": ["--version"],
}
GUARDED = """
import importlib.util
import sys

class Refuse:  # looking whether a module exists is allowed, executing it is not
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name.partition(".")[0] in {heavy!r} else None

    def create_module(self, spec):
        raise AssertionError("heavy import: " + spec.name)

    def exec_module(self, module):
        raise AssertionError("heavy import")

sys.meta_path.insert(0, Refuse())
from repcore.cli.main import run
sys.exit(run({arguments!r}))
"""


def launch(program: str) -> subprocess.CompletedProcess[str]:
    """In a new interpreter that finds compiled modules where an installed package has them: beside the sources."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = f"{tempfile.gettempdir()}/repcore-startup-{os.getuid()}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_heavy_is_imported(name: str) -> None:
    done = launch(GUARDED.format(heavy=set(HEAVY), arguments=COMMANDS[name]))
    assert "heavy import" not in done.stderr + done.stdout
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_guard_itself_works() -> None:
    done = launch(GUARDED.format(heavy={"json"}, arguments=["list", "--json"]))
    assert "heavy import: json" in done.stderr


@pytest.mark.parametrize("kind", ["dataset", "checkpoint"])
def test_asking_everyone_about_a_file_imports_no_library_of_another_domain(kind: str) -> None:
    """Every reader is asked about every path: 2.7 s of torch-geometric would be paid for a table of molecules."""
    done = launch(ASKED.format(kind=kind, heavy=SLOW))
    assert done.stdout.split() == ["set()"], done.stderr


@pytest.mark.parametrize("name", ["list", "help", "plugins", "show"])
def test_best_of_five_within_the_limit(name: str) -> None:
    program = f"from repcore.cli.main import main; main({COMMANDS[name]!r})"
    runs = [timed(program) for _ in range(5)]
    computing, waiting = (min(one) for one in zip(*runs, strict=True))
    assert computing < limits.computing(LIMIT_SECONDS), f"{name}: best of five {computing:.2f} s of processor time"
    if os.getloadavg()[0] <= (os.cpu_count() or 1):  # otherwise the clock shows what other programs did
        assert waiting < LIMIT_SECONDS, f"{name}: best of five {waiting:.2f} s"


def timed(program: str) -> tuple[float, float]:
    """Processor and wall time of one run in seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    assert launch(program).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computing = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return computing, time.perf_counter() - started
