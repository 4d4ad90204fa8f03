"""Trained models that lie in a distribution and are loaded by name."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from repcore.errors import PluginError
from repcore.specs.base import Spec

FOLDER_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z0-9][A-Za-z0-9@._-]*(/[A-Za-z0-9][A-Za-z0-9@._-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(Spec):
    """A trained model among the files of a distribution, loaded by its name wherever a model folder is taken.

    What it was trained on, its licence and its figures are those of its own card (``config.json``), which
    ``repcore list models`` shows: ``training_data``, ``licence``, ``figures``.

    Args:
        folder: ``"package:folder/within"``: a model folder among the files of the package.
    """

    kind: ClassVar[str] = "model"
    folder: str

    def __post_init__(self) -> None:
        Spec.__post_init__(self)
        if not FOLDER_PATTERN.fullmatch(self.folder):
            raise PluginError(
                f"ModelSpec({self.name!r}).folder={self.folder!r} is not a folder of a package",
                expected="'package:folder', for example 'sleep_models:u-sleep-small'",
            )

    def place(self) -> Path:
        """The folder on this machine; nothing of the package is imported.

        Raises:
            PluginError: there is no such package, or it is no folder of files (a zip archive).
        """
        package, _, within = self.folder.partition(":")
        return _package_folder(package) / within


def models_in(package: str) -> list[ModelSpec]:
    """A spec for every model folder that lies directly in a package, called like the folder.

    Raises:
        PluginError: there is no such package.
    """
    found = sorted(one.parent.name for one in _package_folder(package).glob("*/config.json"))
    return [ModelSpec(name=one, folder=f"{package}:{one}") for one in found]


def _package_folder(package: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except ImportError:
        spec = None
    for place in () if spec is None else spec.submodule_search_locations or ():
        if Path(place).is_dir():
            return Path(place)
    raise PluginError(f"no package {package!r} with files here", hint="reinstall the distribution that holds it")
