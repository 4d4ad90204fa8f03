"""What the commands that judge a model on labelled scenes share: options, scenes, and what is tested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import complain
from repcore.errors import DataError, ItemError

if TYPE_CHECKING:
    from repcore.interfaces import Batch, Sample

CALIBRATED_ON = 4  # scenes that give random encoders their BatchNorm statistics

OPTIONS = (
    click.option("--data", required=True, help="Scenes with labels of points: path, or the name of a data set."),
    click.option("--reader", "reader_name", help="Registered reader to use instead of the one that fits best."),
    click.option("--label", required=True, help="Name of the label of points."),
    click.option("--ignore", "ignored", multiple=True, type=int, help="Label value that means unlabelled."),
    click.option("--group", default="", help="Label that divides points into groups (sectors); else scenes."),
    click.option("--test", "tested", multiple=True, help="Groups, or ids of scenes, to test on; else declared splits."),
    click.option("--seeds", default=3, show_default=True, help="Random encoders and draws of training points."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
)


def scene_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options of this module, in order."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@dataclass(frozen=True)
class OpenedScenes:
    """A model with labelled scenes, each prepared once.

    Args:
        model: :class:`repcore.Model` of this plugin.
        samples: scenes whose inputs are prepared.
        labels: arguments of what reads labels: label, ignored, group, test.
    """

    model: Any
    samples: Sequence[Sample]
    labels: dict[str, Any]

    def batches(self) -> list[Batch]:
        """A few whole scenes."""
        prepare = self.model.preprocessor
        return [prepare.collate(prepare.prepare(one)) for one in self.samples[:CALIBRATED_ON]]


def open_scenes(model: str, given: dict[str, Any]) -> OpenedScenes:
    """Model and scenes; rows that cannot be used are named and left out.

    Args:
        model: run or model folder.
        given: what the command line gave for :data:`OPTIONS`.

    Raises:
        DataError: another kind of model, no usable scene, or nothing says what to test on.
    """
    import repcore
    from repcore_pointcloud.preprocessors.scene import ScenePreprocessor

    loaded: Any = repcore.load(model)
    if not isinstance(loaded.preprocessor, ScenePreprocessor):
        raise DataError(f"{model} is no model of scenes", encoder=loaded.folder.encoder_name)
    reader = loaded.reader(given["data"], reader=given["reader_name"])
    samples: dict[int, Sample] = {}
    for row in range(len(reader)):
        try:
            sample = reader[row]
            samples[row] = replace(sample, inputs=loaded.preprocessor.geometry(sample))
        except ItemError as error:
            complain(f"left out: row {row}: {error.status}: {error.reason}")
    if not samples:
        raise DataError(f"none of {len(reader)} scenes can be used", data=given["data"])
    held = next((reader.splits[name] for name in ("test", "val", "validation") if name in reader.splits), ())
    tested = list(given["tested"]) or [samples[row].id for row in held if row in samples]
    if not tested:
        raise DataError("nothing says what to test on", hint="--test ID, or --group LABEL --test VALUE")
    labels = {"label": given["label"], "ignored": given["ignored"], "group": given["group"], "test": tested}
    return OpenedScenes(loaded, list(samples.values()), labels)
