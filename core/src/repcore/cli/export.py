"""``repcore export``: a model as one file that runs without repcore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from repcore.cli.console import say, show_json
from repcore.cli.options import data_options, json_option, reader_options
from repcore.errors import DataError
from repcore.outputs import local_output, sole_writer

if TYPE_CHECKING:
    from repcore.embedding.export_program import Exported
    from repcore.embedding.model import Model
    from repcore.embedding.program_inputs import ProgramInputs

EXAMPLE_ROWS = 16


@click.command("export")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["torch-export", "onnx"]), default="torch-export",
              show_default=True, help="torch-export needs torch where it runs, onnx any ONNX runtime.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="FILE.pt2 or FILE.onnx.")
@click.option("--part", type=click.Choice(["auto", "encoder", "task"]), default="auto", show_default=True,
              help="Embeddings, or the answers of the model's task; auto = the task where there is one.")  # fmt: skip
@click.option("--pool", help="Pooling of the embeddings; the encoder's own by default.")
@data_options
@click.option("--id-column", help="Column with ids.")
@click.option("--read", "settings", multiple=True, metavar="KEY=VALUE", help="Further reader settings (repeatable).")
@click.option("--overwrite", is_flag=True, help="Replace an existing output file.")
@json_option
@click.pass_context
def export_command(ctx: click.Context, /, **given: Any) -> None:
    """MODEL (a folder, a run, an installed model) as one file that runs without repcore, compared with it.

    The program takes inputs as the model's preprocessor prepares them, any number of items at once, or one where the
    network fixes their number. Rows of --data (by default the data that the model was trained on) are the example; an
    axis that differs between them stays free where the network allows it. Graphs, ragged points, sparse voxels and
    networks that search neighbours cannot be exported.

    \b
    Example:
      repcore export runs/latest --format onnx -o model.onnx --data new.csv
    """
    output: Path = local_output(given["output"])
    if output.exists() and not given["overwrite"]:
        raise DataError(f"{str(output)!r} exists", hint="--overwrite, or another file name")
    from repcore.embedding.export_program import Program, export_program
    from repcore.embedding.model import load

    model = load(given["model"])
    task = given["part"] == "task" or (given["part"] == "auto" and model.target is not None and not given["pool"])
    inputs = _inputs(model, given)
    program = Program(model, inputs, given["pool"], task)
    ctx.with_resource(sole_writer(output))
    facts = {"encoder": model.folder.encoder_name, "preprocessor": model.folder.preprocessor_name,
             "model": model.identity(), "classes": model.target.names if task and model.target else ()}  # fmt: skip
    done = export_program(program, output, given["form"], facts)
    _summary(done, program.inputs, given)


def _inputs(model: Model, given: dict[str, Any]) -> ProgramInputs:
    """Example inputs from a few rows of the data."""
    from itertools import islice

    from repcore.embedding.inference import InferenceOptions, windows_of
    from repcore.embedding.program_inputs import program_inputs

    options = reader_options(given)
    if given["data"] is None:
        reader = model.training_data(options=options)
    else:
        reader = model.reader(given["data"], reader=given["reader"], options=options)
    rows = list(range(min(EXAMPLE_ROWS, len(reader))))
    windows = islice(windows_of(model.preprocessor, reader, InferenceOptions(), rows), 1)
    prepared = [row for window in windows for row in window]
    return program_inputs(model.preprocessor, prepared, model.folder.encoder_name, model.domain)


def _summary(done: Exported, inputs: ProgramInputs, given: dict[str, Any]) -> None:
    if given["as_json"]:
        show_json({"output": str(done.path), "format": given["form"], "gives": done.output, "inputs": done.axes,
                   "largest_error": done.error, "batches_compared": done.batches,
                   "rows_of_one_length": inputs.alike})  # fmt: skip
        return
    say(f"{done.output} in {done.path}")
    for name, axes in done.axes.items():
        say(f"input {name}: {str(inputs.example[name].dtype).removeprefix('torch.')} ({', '.join(map(str, axes))})")
    if any(axes[0] == 1 for axes in done.axes.values()):
        say("note: this network fixes the number of items: the program takes one at a time")
    if any(inputs.lengths.values()) and not any(
        str(one).startswith("length") for own in done.axes.values() for one in own
    ):
        say(
            "note: this network fixes the lengths: inputs must have the sizes above, which the first rows of --data set"
        )
    if inputs.alike:
        say("note: the rows of one batch must have one length")
    say(f"largest error against the model {done.error:.2g}, on batches of {', '.join(map(str, done.batches))}")
