"""Try the distributions as a user gets them: build, install from the wheel folder only, run outside the source tree.

    python scripts/release.py [--out dist] [--quick] [--dependencies lowest|newest]

Steps, each of which ends the release when it fails:

1. build wheels and source archives of core and every plugin and check their contents (``build_wheels``);
2. core alone: it lists, says how to get a plugin, and writes a new plugin, which is installed and passes its checks;
3. core with each plugin, then with all: doctor, list, versions, conformance checks, one short training a domain;
4. from all, each plugin is removed once: the rest stays in order.

No network is needed: packages that are not ours come from the running environment by a path file. With
``--dependencies``, a further environment gets the lowest declared (or newest) version of every dependency that the
package index offers as a wheel; what could not be had is said and comes from the running environment instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path

try:
    from scripts import build_wheels
except ImportError:  # run as a file: this folder, not the root, is on the path
    import build_wheels

ROOT = Path(__file__).resolve().parents[1]
# Short training of each domain: recipe and settings that make it a matter of seconds.
SMOKE: Mapping[str, tuple[str, ...]] = {
    "audio": ("ssamba", "encoder.width=32", "encoder.depth=1", "data.batch_size=4"),
    "generic": ("selformer", "objective=simclr", "encoder.hidden_width=32", "encoder.layers=1",
                "encoder.attention_heads=2", "encoder.feed_forward_width=64", "data.batch_size=16"),
    "graphs": ("masked-edge", "data.batch_size=16"),
    "medical3d": ("adam-v2", "data.batch_size=2"),
    "molecules": ("selformer", "encoder.hidden_width=32", "encoder.layers=1", "encoder.attention_heads=2",
                  "encoder.feed_forward_width=64", "data.batch_size=16"),
    "pointcloud": ("i2p-mae", "data.batch_size=4"),
    "timeseries": ("ts2vec", "encoder.depth=2", "encoder.hidden=8", "encoder.width=16"),
}  # fmt: skip
BORROWS: Mapping[str, str] = {"generic": "molecules"}  # has methods and no recipe: trains in this domain, if installed
SMALL_RUN = ("trainer.steps=3", "data.limit=48", "trainer.threads=1")
# One build fits the other: exchanging one of these alone proves nothing but that it does not load.
PINS_ITS_CORE = ("pydantic",)  # one version of another package: exchanged with it
BOUND_TOGETHER = ("torch", "torchaudio", "lightning", "torch-geometric", "monai")


class ReleaseError(Exception):
    """A step did not do what it should; carries what was said."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A fresh environment with some of our wheels, and how to run things in it away from the source tree."""

    folder: Path

    @property
    def binaries(self) -> Path:
        """Where its programs are."""
        return self.folder / "env" / "bin"

    @property
    def elsewhere(self) -> Path:
        """The working directory of everything that is run."""
        return self.folder / "elsewhere"

    def install(self, *words: str) -> None:
        """pip of the running interpreter, into this environment, never from an index.

        Raises:
            ReleaseError: pip failed.
        """
        run_or_raise([*_pip(self.binaries), "install", "--no-index", "--no-deps", *words])

    def uninstall(self, name: str) -> None:
        """Remove one distribution."""
        run_or_raise([*_pip(self.binaries), "uninstall", "--yes", name])

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Its ``repcore`` with these arguments.

        Raises:
            ReleaseError: another exit code, or the source tree shows in the output.
        """
        done = subprocess.run(
            [str(self.binaries / "repcore"), *arguments],
            capture_output=True, text=True, check=False, cwd=self.elsewhere, env=self.variables(),
        )  # fmt: skip
        said = f"repcore {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        if done.returncode != code:
            raise ReleaseError(f"exit code {done.returncode} instead of {code}: {said}")
        if str(ROOT) in done.stdout + done.stderr:
            raise ReleaseError(f"the source tree is in use: {said}")
        return done

    def variables(self) -> dict[str, str]:
        """Environment variables without anything of ours."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "REPCORE" not in name}
        return {**kept, "OMP_NUM_THREADS": "1", "REPCORE_CACHE": str(self.folder / "cache")}


def linked_packages(folder: Path) -> Path:
    """This environment's packages without ours and without editable installs, as links."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(("repcore", "_editable_impl_repcore", "pip")) and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def make_trial(folder: Path, third_party: Path, wheels: Path, names: Sequence[str]) -> Trial:
    """An environment with the named distributions from the wheel folder.

    Raises:
        ReleaseError: they cannot be installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    (site / "third_party.pth").write_text(f"{third_party}\n")
    trial = Trial(folder)
    trial.elsewhere.mkdir()
    trial.install("--find-links", str(wheels), *names)
    return trial


def _pip(binaries: Path) -> list[str]:
    return [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(binaries / "python")]


def run_or_raise(command: Sequence[str]) -> None:
    """
    Raises:
        ReleaseError: the command failed; carries what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


# ------------------------------------------------------------------------------------------------- steps


def try_core_alone(trial: Trial) -> None:
    """It lists, says how to get a plugin, and writes one that works.

    Raises:
        ReleaseError: one of these fails.
    """
    if "No plugin is installed" not in trial.run("list").stdout:
        raise ReleaseError("`repcore list` without a plugin does not say so")
    health = json.loads(trial.run("plugins", "--doctor", "--json").stdout)
    if [one["name"] for one in health["plugins"]] != ["core"]:
        raise ReleaseError(f"core alone has plugins: {health['plugins']}")
    trial.run("new-plugin", "trial-rows")
    trial.install("--no-build-isolation", str(trial.elsewhere / "repcore-trial-rows"))
    trial.run("trialrows", "train", "trial-rows", "--name", "smoke", *SMALL_RUN)
    trial.run("plugins", "check", "trial-rows")


def try_plugins(trial: Trial, domains: Sequence[str], *, train: bool = True, models: Sequence[str] = ()) -> None:
    """Doctor, list and versions; conformance and a short training of each domain.

    Args:
        models: domains whose trained models are installed as well.

    Raises:
        ReleaseError: one of these fails.
    """
    health = json.loads(trial.run("plugins", "--doctor", "--json").stdout)
    states = {one["name"]: one["status"] for one in health["plugins"]}
    if set(states) != {"core", *domains, *map(models_of, models)} or set(states.values()) - {"ok", "slow"}:
        raise ReleaseError(f"plugins are not in order: {states}")
    version = (ROOT / "VERSION").read_text().strip()
    wrong = [one["name"] for one in health["plugins"] if one["version"] != version]
    if wrong:
        raise ReleaseError(f"not of version {version}: {', '.join(wrong)}")
    listed = {kind: trial.run("list", kind).stdout for kind in ("recipes", "objectives")}
    missing = [one for one in domains if f"{one}/" not in listed["objectives" if one in BORROWS else "recipes"]]
    if missing:
        raise ReleaseError(f"nothing is listed of {', '.join(missing)}")
    for domain in domains if train else ():
        trial.run("plugins", "check", domain)
        home = BORROWS.get(domain, domain)
        if domain in SMOKE and home in domains:
            recipe, *settings = SMOKE[domain]
            name = f"smoke-{domain}"
            trial.run(home, "train", recipe, "--name", name, *settings, *SMALL_RUN)
            if not (trial.elsewhere / "runs" / name / "model" / "weights.safetensors").is_file():
                raise ReleaseError(f"training in {domain} left no model")


def models_of(domain: str) -> str:
    """Name of the plugin that holds a domain's trained models."""
    return f"{domain}-models"


def try_models(trial: Trial, domain: str, *, whole: bool = True) -> None:
    """The trained models of a domain are listed with what their cards say, load, and pass their checks.

    Args:
        whole: all checks of the plugin, which build a wheel again; else listing alone.

    Raises:
        ReleaseError: one is not whole, or its domain is missing.
    """
    for one in json.loads(trial.run("list", "models", "--domain", domain, "--json").stdout):
        if one["note"] or not (one["trained on"] and one["licence"] and one["figures"]):
            raise ReleaseError(f"a model is not in order: {one}")
    if whole:
        trial.run("plugins", "check", models_of(domain))


def try_removals(
    trial: Trial,
    wheels: Path,
    domains: Sequence[str],
    removed: Sequence[str] | None = None,
    models: Sequence[str] = (),
) -> None:
    """Without any one of ``removed`` (all of ``domains`` by default), the others are in order; so are trained models.

    Raises:
        ReleaseError: they are not.
    """
    for domain in domains if removed is None else removed:
        trial.uninstall(f"repcore-{domain}")
        try_plugins(trial, [one for one in domains if one != domain], train=False, models=models)
        trial.install("--find-links", str(wheels), f"repcore-{domain}")


# -------------------------------------------------------------------------------------------- dependencies


def wanted_versions(kind: str, distributions: Sequence[str]) -> dict[str, str]:
    """Requirement of every dependency: its lowest declared version, or any newer one.

    Args:
        kind: ``lowest`` or ``newest``.
    """
    found: dict[str, str] = {}
    for line in (one for name in distributions for one in requires(name) or ()):
        match = re.match(r"([A-Za-z0-9_.-]+)\s*(?:\[[^]]*\])?\s*([^;]*)", line)
        if match is None or "extra ==" in line or match[1].lower().startswith("repcore"):
            continue
        lower = re.search(r">=\s*([0-9.]+)", match[2])
        if lower:
            found[match[1].lower()] = f"=={lower[1]}" if kind == "lowest" else match[2].replace(" ", "").strip("()")
    return dict(sorted(found.items()))


def exchange_dependencies(trial: Trial, kind: str, distributions: Sequence[str]) -> dict[str, str]:
    """Install other versions of what can be had; returns package -> why not, for the rest."""
    refused = {}
    for name, bounds in wanted_versions(kind, distributions).items():
        if name in BOUND_TOGETHER:
            refused[name] = f"not tried{bounds}: it fits one build of torch only"
            continue
        command = [*_pip(trial.binaries), "install", "--only-binary", ":all:", "--upgrade"]
        if name not in PINS_ITS_CORE:
            command.append("--no-deps")
        done = subprocess.run([*command, f"{name}{bounds}"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            refused[name] = f"{bounds}: {(done.stderr.strip().splitlines() or ['no wheel'])[-1]}"
    return refused


# ----------------------------------------------------------------------------------------------- together


def release(out: Path, *, quick: bool, dependencies: Sequence[str]) -> None:
    """All steps.

    Raises:
        ReleaseError, build_wheels.DistributionError: one of them failed.
    """
    started = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    for folder in build_wheels.package_folders():
        wheel = build_wheels.build_and_check(folder, out)
        tell(f"built {wheel.name}, {wheel.stat().st_size / 1024:.0f} KiB")
    domains = [folder.name for folder in build_wheels.plugin_folders()]
    models = [folder.parent.name for folder in build_wheels.model_folders()]
    with tempfile.TemporaryDirectory() as scratch:
        third_party = linked_packages(Path(scratch) / "third-party")
        places = iter(Path(scratch) / f"trial-{number}" for number in range(100))

        def trial(*names: str) -> Trial:
            return make_trial(next(places), third_party, out, ["repcore", *(f"repcore-{one}" for one in names)])

        try_core_alone(trial())
        tell("core alone, and a new plugin beside it: in order")
        for domain in () if quick else domains:
            try_plugins(trial(domain), [domain])
            tell(f"core with {domain}: in order, conforms, trains")
        together = trial(*domains, *map(models_of, models))
        try_plugins(together, domains, train=False, models=models)
        for domain in models:
            try_models(together, domain, whole=not quick)
        try_removals(together, out, domains, models=models)
        tell("all together with their models, and all but one: in order")
        for kind in dependencies:
            exchanged = trial(*domains)
            refused = exchange_dependencies(exchanged, kind, ["repcore", *(f"repcore-{one}" for one in domains)])
            for name, reason in refused.items():
                tell(f"{kind}: {name} stays as it is here ({reason})")
            try_plugins(exchanged, domains, train=not quick)
            tell(f"{kind} dependencies, but for those named: in order")


def main() -> int:
    """1 when a step failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of wheels and source archives")
    parser.add_argument("--quick", action="store_true", help="no conformance checks and no training of each plugin")
    parser.add_argument("--dependencies", choices=["lowest", "newest"], action="append", default=[])
    given = parser.parse_args()
    try:
        release(given.out, quick=given.quick, dependencies=given.dependencies)
    except (ReleaseError, build_wheels.DistributionError) as problem:
        print(f"release: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
