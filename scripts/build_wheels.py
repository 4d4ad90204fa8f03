"""Build wheels and source archives of core, of every plugin and of its trained models, and check what is inside.

Checks: every source file is in the wheel and nothing else (no tests, data or caches); ``py.typed`` and the entry
points are there; a wheel built from the unpacked source archive equals the one built from the checkout byte for
byte, so the version survives without the workspace's VERSION file. Needs no network: the build back end comes from
the running environment.

    python scripts/build_wheels.py [--out dist]
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
CACHES = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache")


class DistributionError(Exception):
    """A built archive does not hold what it should."""


def package_folders(root: Path = ROOT) -> list[Path]:
    """Core, every plugin present, and the trained models of each."""
    return [root / "core", *plugin_folders(root), *model_folders(root)]


def plugin_folders(root: Path = ROOT) -> list[Path]:
    """Every plugin present; a folder is called like its domain."""
    return sorted(path.parent for path in root.glob("plugins/*/pyproject.toml"))


def model_folders(root: Path = ROOT) -> list[Path]:
    """The distributions of trained models, each below its domain's plugin."""
    return sorted(path.parent for path in root.glob("plugins/*/models/pyproject.toml"))


def build(folder: Path, out: Path, *kinds: str) -> None:
    """Run the build back end of one package without isolation.

    Raises:
        DistributionError: the back end failed; carries what it said.
    """
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(out), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DistributionError(f"{folder}: build failed\n{done.stdout}{done.stderr}")


def build_and_check(folder: Path, out: Path) -> Path:
    """Wheel and source archive of one package into ``out``; returns the wheel.

    Raises:
        DistributionError: the build failed or an archive holds too much or too little.
    """
    with tempfile.TemporaryDirectory() as scratch:
        direct, rebuilt, unpacked = (Path(scratch) / name for name in ("direct", "rebuilt", "unpacked"))
        build(folder, direct, "--wheel", "--sdist")
        (wheel,), (archive,) = direct.glob("*.whl"), direct.glob("*.tar.gz")
        with tarfile.open(archive) as file:
            check_names(archive.name, {PurePosixPath(*PurePosixPath(name).parts[1:]) for name in file.getnames()})
            file.extractall(unpacked, filter="data")
        (source,) = unpacked.iterdir()
        build(source, rebuilt, "--wheel")
        (second,) = rebuilt.glob("*.whl")
        if digest(second) != digest(wheel):
            raise DistributionError(f"{archive.name} gives {second.name} with other content than the checkout")
        check_wheel(wheel, folder)
        out.mkdir(parents=True, exist_ok=True)
        for built in (wheel, archive):
            (out / built.name).write_bytes(built.read_bytes())
    return out / wheel.name


def check_wheel(wheel: Path, folder: Path) -> None:
    """Compare a wheel with the package's source folder.

    Raises:
        DistributionError: names what is missing or surplus.
    """
    with zipfile.ZipFile(wheel) as file:
        inside = {PurePosixPath(name) for name in file.namelist()}
    check_names(wheel.name, inside)
    source = folder / "src"
    expected = {
        PurePosixPath(path.relative_to(source).as_posix())
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    code = {name for name in inside if not name.parts[0].endswith(".dist-info")}
    if code != expected:
        missing, surplus = sorted(map(str, expected - code)), sorted(map(str, code - expected))
        raise DistributionError(f"{wheel.name}: missing {missing}, surplus {surplus}")
    if not any(name.name == "py.typed" for name in code):
        raise DistributionError(f"{wheel.name} has no py.typed")
    if not any(name.name == "entry_points.txt" for name in inside):
        raise DistributionError(f"{wheel.name} registers no entry point")


def check_names(archive: str, names: set[PurePosixPath]) -> None:
    """Refuse tests, data and caches in any archive.

    Raises:
        DistributionError: names the first offenders.
    """
    bad = [str(one) for one in names if one.suffix == ".pyc" or set(one.parts) & {*CACHES, "tests"}]
    if bad:
        raise DistributionError(f"{archive} holds what no user needs: {', '.join(sorted(bad)[:5])}")


def digest(wheel: Path) -> str:
    """Hash over names and contents of an archive, whatever its compression."""
    total = hashlib.sha256()
    with zipfile.ZipFile(wheel) as file:
        for name in sorted(file.namelist()):
            total.update(name.encode() + b"\0" + file.read(name))
    return total.hexdigest()


def main() -> int:
    """Build everything; 1 when a package is not in order."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out = parser.parse_args().out
    folders = package_folders()
    for number, folder in enumerate(folders, 1):
        try:
            wheel = build_and_check(folder, out)
        except DistributionError as problem:
            print(f"wheels: {problem}", file=sys.stderr)
            return 1
        print(f"{number}/{len(folders)} {wheel.name}  {wheel.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
