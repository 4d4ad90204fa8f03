"""``repcore index`` and ``repcore search``: what is like this?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from repcore import registry
from repcore.cli.console import ConsoleReporter, complain, say, show_json, table
from repcore.cli.options import device_option, json_option
from repcore.cli.vector_rows import gathered, vector_rows
from repcore.devices import torch_device
from repcore.errors import ConfigError
from repcore.outputs import local_output, sole_writer

SHOWN_COLUMNS = 4
LITTLE_STRUCTURE = 0.25  # share of the lists that a query looks into


@click.command("index")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the index.")
@click.option("--append", is_flag=True, help="Add rows to the index; those whose id is there are passed over.")
@click.option("--overwrite", is_flag=True, help="Replace an index.")
@click.option("--storage", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
              help="Numbers on disk; float16 takes half of it.")  # fmt: skip
@vector_rows
@json_option
@click.pass_context
def index_command(ctx: click.Context, /, source: Path, data: str | None, **given: Any) -> None:
    """Vectors of DATA by MODEL, or those of a file of EMBEDDINGS, as a folder that `repcore search` looks into.

    Up to 100,000 rows are searched one by one; more of them in lists, of which a query looks into the nearest (faiss).

    \b
    Example:
      repcore index runs/latest molecules.csv -o molecules.index
      repcore search molecules.index CCO
    """
    from repcore.explore.index import append_index, build_index

    output: Path = local_output(given["output"], folder_too=True)
    if given["append"] and given["overwrite"]:
        raise ConfigError("--append and --overwrite were both given", hint="one of them")
    rows = gathered(source, data, given)
    ctx.with_resource(sole_writer(output))
    if given["append"]:
        done = append_index(output, rows)
    else:
        done = build_index(output, rows, dtype=given["storage"], overwrite=given["overwrite"])
    status = dict(Counter(rows.status))
    if given["as_json"]:
        show_json({"index": str(output), "rows": done.rows, "left_out": done.left_out, "known": done.known,
                   "changed": list(done.changed), "doubled": list(done.doubled), "total": done.total,
                   "recall": done.recall, "status": status})  # fmt: skip
        return
    words = f"{done.rows:,} rows added to {output}, which has {done.total:,}" if given["append"] else ""
    words = words or f"{done.rows:,} rows in {output}"
    words += f"; {done.known:,} were there already" if done.known else ""
    words += f"; {done.left_out:,} left out, the first: {done.reason}" if done.left_out else ""
    say(words)
    if done.changed:
        names = ", ".join(done.changed)
        complain(
            f"warning: {len(done.changed):,} of them have another vector now ({names}): the index keeps the "
            "old ones; build it anew with --overwrite"
        )
    if done.doubled:
        names = ", ".join(done.doubled)
        complain(f"warning: {len(done.doubled):,} ids are of several rows ({names}); a search by id takes the first")
    if set(status) - {"ok"}:
        say("status of the rows given: " + ", ".join(f"{count:,} {name}" for name, count in status.items()))
    if done.recall is not None:
        say(f"a query looks into {done.share:.0%} of the lists; measured recall of ten neighbours {done.recall:.3f}")
        if done.share > LITTLE_STRUCTURE:
            say("these vectors have little structure to search by: a query takes nearly as long as comparing every row")
    say(f"search it with: repcore search {output} QUERY")


@click.command("search")
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("query")
@click.option("-k", "count", type=click.IntRange(min=1), default=10, show_default=True, help="Number of hits.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only rows that fulfil this; also != < <= > >= "
              "(repeatable).")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="FILE.html with the items drawn, .csv or .json.")
@click.option("--model", type=click.Path(path_type=Path), help="The model, where it has moved since indexing.")
@device_option
@json_option
def search_command(index: Path, query: str, count: int, where: tuple[str, ...], **given: Any) -> None:
    """Rows of INDEX that are most like QUERY: an id of it, FILE#ROW, a file of one item, or one input such as a SMILES.

    \b
    Example:
      repcore search molecules.index "c1ccccc1O" -k 5 --where "active=1" -o hits.html
      repcore search molecules.index new.csv#3
    """
    from repcore.explore.hits import check_output, hits_of, plain, write_hits
    from repcore.explore.index import VectorIndex
    from repcore.explore.queries import find_query

    output: Path | None = given["output"]
    if output is not None:
        check_output(local_output(output))
    opened, known = VectorIndex(index), registry.default()
    asked = find_query(opened, query, registry=known, model=given["model"], device=torch_device(given["device"]))
    rows, similar = opened.nearest(asked.vector, count, where=where, without=asked.row)
    hits = hits_of(opened, rows, similar)
    if output is not None:
        write_hits(output, opened, asked, hits, known, ConsoleReporter().warn)
    if given["as_json"]:
        show_json(plain(asked, hits))
        return
    names = list(opened.columns)[:SHOWN_COLUMNS]
    table(
        ("rank", "id", "similarity", *names),
        [(one.rank, one.id, one.similarity, *(one.columns[name] for name in names)) for one in hits],
    )
    if output is not None:
        say(f"hits: {output}")
