"""Make the environment that the Makefile's targets run in: one ``.venv``, exact versions, nothing but pip.

Standard library only, because it runs before anything is installed. A finished environment carries a stamp with
the hash of ``constraints.txt`` and every ``pyproject.toml``; as long as the hash is the same, nothing is done.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / ".installed"
OLDEST_PYTHON = (3, 11)
FREE_BYTES_NEEDED = 12 * 10**9  # torch with its CUDA libraries, in the download cache and unpacked
BUILD_TOOLS = ["hatchling", "editables", "build"]
DEVELOPMENT_TOOLS = [
    "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "ruff", "mypy", "types-PyYAML", "playwright",
    "axe-playwright-python", "transformers", "huggingface_hub", "pydicom", "einops", "h5py", "zarr", "av", "laspy",
    "lazrs", "pye57", "SimpleITK", "onnx", "onnxscript", "onnxruntime", "pandas", "polars", "faiss-cpu", "umap-learn",
    "numba",
    "mkdocs-material", "mkdocstrings-python", "mkdocs-jupyter", "jupytext", "nbclient", "ipykernel",
    "wandb", "mlflow-skinny", "sqlalchemy", "alembic", "pydot", "s3fs", "moto[s3]", "flask", "flask-cors",
]  # fmt: skip


class SetupError(Exception):
    """The environment cannot be made here; the message says why and what to do."""


def packages() -> list[Path]:
    """Folders of core, of every plugin present, and of its trained models."""
    found = (path.parent for form in ("*", "*/models") for path in ROOT.glob(f"plugins/{form}/pyproject.toml"))
    return [ROOT / "core", *sorted(found)]


def fingerprint() -> str:
    """Hash of everything that decides what is installed."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in [ROOT / "constraints.txt", Path(__file__), *(one / "pyproject.toml" for one in packages())]:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def check_machine() -> None:
    """Refuse early, with the remedy, instead of failing half-way.

    Raises:
        SetupError: Python too old, no venv module, or too little disk space.
    """
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise SetupError(
            f"{sys.executable} is Python {sys.version.split()[0]}; {wanted} or later is needed\n"
            f"  try: make PYTHON=/path/to/python{wanted}"
        )
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise SetupError(
                f"{sys.executable} has no module {module!r}, which makes environments\n"
                f"  try: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv   (Debian, Ubuntu)"
            )
    free = shutil.disk_usage(ROOT).free
    if free < FREE_BYTES_NEEDED and not STAMP.exists():
        raise SetupError(
            f"{free / 1e9:.1f} GB are free on the disk of {ROOT}; "
            f"the environment needs {FREE_BYTES_NEEDED / 1e9:.0f} GB\n"
            "  try: free some space, or put the checkout on a larger disk"
        )


def step(number: int, text: str, minutes: float, command: list[str]) -> None:
    """Announce and run one step.

    Raises:
        SetupError: the command failed.
    """
    print(f"step {number}/4 {text} (expected ~{minutes:g} min)", flush=True)
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SetupError(f"step {number}/4 failed (exit code {done.returncode}): {' '.join(command)}")
    print(f"step {number}/4 done in {(time.monotonic() - started) / 60:.1f} min", flush=True)


def install() -> None:
    """Create the environment and fill it."""
    python = str(VENV / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-c", "constraints.txt"]
    fresh = [] if (VENV / "bin" / "python").exists() and same_python() else ["--clear"]
    editable = [argument for one in packages() for argument in ("-e", str(one.relative_to(ROOT)))]
    names = ", ".join("-".join(one.relative_to(ROOT).parts[-2:]).removeprefix("plugins-") for one in packages())
    STAMP.unlink(missing_ok=True)
    step(1, f"environment in {VENV.name}", 0.2, [sys.executable, "-m", "venv", *fresh, str(VENV)])
    step(2, "torch and build tools", 4, [*pip, *BUILD_TOOLS, "torch", "torchvision", "torchaudio"])
    step(3, f"{names} and development tools", 3, [*pip, "--no-build-isolation", *editable, *DEVELOPMENT_TOOLS])
    print("step 4/4 health of the plugins (expected ~0.1 min)", flush=True)
    subprocess.run([str(VENV / "bin" / "repcore"), "plugins", "--doctor"], cwd=ROOT, check=False)  # says what it finds
    STAMP.write_text(fingerprint() + "\n")


def same_python() -> bool:
    """Whether the environment there was made by this Python version."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return (VENV / "bin" / name).exists() and os.access(VENV / "bin" / "python", os.X_OK)


def main() -> int:
    """Make the environment unless it is up to date."""
    try:
        check_machine()
        if STAMP.is_file() and STAMP.read_text().strip() == fingerprint():
            return 0
        install()
    except SetupError as problem:
        print(f"environment: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
