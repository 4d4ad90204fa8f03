"""An index of vectors in a folder: memory-mapped unit vectors, ids and columns, bound to the content of one model.

index.json            what it belongs to, and its parts; written last, so that a killed command changes nothing
vectors-000.npy       unit vectors (n, D), float32 or float16        one of each for every build and append
rows-000.parquet      id, source row and columns
lists-000.faiss       all rows in lists around centres, where there are many
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from repcore.embedding.parts import texts
from repcore.errors import CheckpointError, ConfigError, DataError, closest
from repcore.explore.filters import conditions, fulfilled
from repcore.explore.lists import Lists
from repcore.explore.nearest import EXACT_BELOW, exact, rows_of
from repcore.explore.rows import Gathered, Origin, unit
from repcore.files import entries_of, new_folder, read_object, read_parquet, save_array, write_text, written_whole

FACTS = "index.json"
FORMAT = 2
DTYPES = ("float32", "float16")
ID, PLACE = "id", "row of the data"
OWN = re.compile(r"\.?(?:vectors|rows|lists)-(\d+)\.(?:npy|parquet|faiss)(?:\.partial)?")
COMPARED_AT_ONCE = 10_000
ROUNDING = 1e-4  # of a cosine: float16 storage and other batches stay far below
GROWN = 2.0  # times the rows that there were when lists were made, from which they are made anew


@dataclass(frozen=True, slots=True)
class Added:
    """What a build or append did: rows added, rows without a vector, and rows that were in the index already.

    Args:
        reason: of the first row that was left out. recall: of ten neighbours, as measured on rows of the index; None
            where every row is compared. share: of the lists that a query looks into.
        changed: ids that were there with another vector. doubled: ids that several of the new rows have.
        total: rows that the index has now.
    """

    rows: int
    left_out: int
    known: int = 0
    reason: str = ""
    recall: float | None = None
    share: float = 1.0
    changed: Sequence[str] = ()
    doubled: Sequence[str] = ()
    total: int = 0


class VectorIndex:
    """An index that is open for searching.

    Raises:
        DataError: no index there. CheckpointError: damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / FACTS).is_file():
            raise DataError(f"{str(folder)!r} holds no index", hint="repcore index MODEL DATA -o INDEX")
        self.facts = read_object(self.folder / FACTS, ("format", "parts", "width", "lists"), hint="build it again")
        try:
            self.origins = [Origin(**one["origin"]) for one in self.facts["parts"]]
            self.parts = [np.load(self._inside(one["vectors"]), mmap_mode="r") for one in self.facts["parts"]]
            self._tables = [read_parquet(self._inside(one["rows"])) for one in self.facts["parts"]]
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise CheckpointError(f"{folder} is a damaged index: {error}", hint="build it again") from error
        if any(len(one) != table.num_rows for one, table in zip(self.parts, self._tables, strict=True)):
            raise CheckpointError(f"{folder} is a damaged index: vectors and rows differ", hint="build it again")

    def _inside(self, name: str) -> Path:
        """A file of the folder, whatever a received index says."""
        return self.folder / Path(str(name)).name

    def __len__(self) -> int:
        return sum(len(one) for one in self.parts)

    def __contains__(self, name: object) -> bool:
        """Whether a row has this id."""
        return name in self._place_of

    @property
    def width(self) -> int:
        return int(self.facts["width"])

    @property
    def origin(self) -> Origin:
        """Of the first rows; later ones come from the same model."""
        return self.origins[0]

    @cached_property
    def ids(self) -> list[str]:
        return [one for table in self._tables for one in table.column(ID).to_pylist()]

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """Columns by name, None where a part does not have them."""
        names = dict.fromkeys(name for table in self._tables for name in table.column_names)
        return {
            name: [
                one
                for table in self._tables
                for one in (table.column(name).to_pylist() if name in table.column_names else [None] * len(table))
            ]
            for name in names
            if name not in (ID, PLACE)
        }

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {name: row for row, name in reversed(list(enumerate(self.ids)))}

    @cached_property
    def lists(self) -> Lists | None:
        """None for an index that is searched row by row."""
        facts = self.facts["lists"]
        return Lists.read(self._inside(facts["file"]), facts) if facts else None

    def place(self, name: str) -> int:
        """Row of an id, the first if it stands several times.

        Raises:
            DataError: there is none.
        """
        if name not in self:
            near = closest(name, self.ids[:5000])
            raise DataError(f"{name!r} is no id of {self.folder}", did_you_mean=near)
        return self._place_of[name]

    def source(self, row: int) -> tuple[Origin, int]:
        """Where a row comes from: its data, and its number there (-1 where that is not known)."""
        for origin, table in zip(self.origins, self._tables, strict=True):
            if row < table.num_rows:
                return origin, int(table.column(PLACE)[row].as_py())
            row -= table.num_rows
        raise IndexError(row)

    def vectors(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Unit vectors of some rows, float32 (n, D)."""
        return rows_of(self.parts, np.asarray(rows, np.int64))

    def nearest(
        self, query: np.ndarray, k: int = 10, *, where: Sequence[str] = (), without: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows (k,) and cosine similarities (k,), best first.

        Args:
            query: (D,), of any length.
            where: conditions such as ``"kind=ring"`` that rows fulfil.
            without: a row that is not wanted.

        Raises:
            ConfigError: k below 1, or a condition on no column. DataError: a vector of another width, or not finite.
        """
        if k < 1:
            raise ConfigError(f"-k {k}: at least 1")
        vector = np.asarray(query, np.float32).reshape(1, -1)
        if vector.shape[1] != self.width or not np.isfinite(vector).all():
            raise DataError(f"a query of {vector.shape[1]} numbers; expected {self.width} finite ones")
        allowed = fulfilled(conditions(where), self.columns, len(self))
        wanted = k + (without is not None)
        few = allowed is not None and allowed.sum() <= EXACT_BELOW
        search = exact if self.lists is None or few else self.lists.search
        rows, similar = (one[0] for one in search(self.parts, unit(vector), wanted, allowed))
        kept = rows != without if without is not None else np.ones(len(rows), bool)
        return rows[kept][:k], similar[kept][:k]


def build_index(
    folder: Path | str,
    rows: Gathered,
    *,
    dtype: str = "float32",
    overwrite: bool = False,
    approximate: bool | None = None,
) -> Added:
    """Write a new index.

    Args:
        dtype: float32, or float16 for half the disk.
        approximate: lists around centres; None = above ``EXACT_BELOW`` rows.

    Raises:
        DataError: there is one, or something else, in the folder; or no row has a vector.
    """
    path = Path(folder)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}", expected=", ".join(DTYPES))
    if path.exists() and (not path.is_dir() or entries_of(path)):
        if not (path / FACTS).is_file():
            if not path.is_dir() or not all(OWN.fullmatch(one.name) for one in entries_of(path)):
                raise DataError(f"{str(path)!r} exists and is no index", hint="name a new folder")
            if not overwrite:  # of a command that was killed; one that failed has removed them
                raise DataError(f"{str(path)!r} holds parts of an unfinished index", hint="--overwrite replaces them")
        elif not overwrite:
            raise DataError(f"{str(path)!r} exists", hint="--append adds rows; --overwrite replaces it")
    good = rows.usable
    if not good.any():
        raise DataError(
            f"none of {len(good)} rows has a vector", first_reason=next((one for one in rows.reason if one), "none")
        )
    old = sorted(path.glob("*")) if path.is_dir() else []
    kept = rows.some(good)
    with new_folder(path), _all_or_none(path) as number:
        part = _write_part(path, number, kept, dtype)
        lists = None
        if approximate or (approximate is None and len(kept.ids) > EXACT_BELOW):
            lists = _write_lists(path, number, Lists.built([np.load(path / part["vectors"], "r")]))
        facts = {"format": FORMAT, "width": int(kept.vectors.shape[1]), "dtype": dtype, "parts": [part], "lists": lists}
        write_text(path / FACTS, json.dumps(facts, indent=1))
    _clear(old, facts)
    count = len(kept.ids)
    done = Added(count, int((~good).sum()), reason=_first(rows, good), doubled=_doubled(kept.ids), total=count)
    return _searched(done, lists)


def append_index(folder: Path | str, rows: Gathered) -> Added:
    """Add rows of the same model; rows whose id is there already are passed over, and named where they have changed.

    Raises:
        CheckpointError: vectors of another model, or taken in another way.
    """
    index = VectorIndex(folder)
    _check_same(index, rows)
    good = rows.usable
    known = np.asarray([name in index for name in rows.ids], bool)
    kept = rows.some(good & ~known)
    done = Added(
        len(kept.ids), int((~good & ~known).sum()), int(known.sum()), _first(rows, good),
        changed=_changed(index, rows, good & known), doubled=_doubled(kept.ids), total=len(index) + len(kept.ids),
    )  # fmt: skip
    if not len(kept.ids):
        return done
    path, old = index.folder, index.facts["lists"]
    with _all_or_none(path) as number:
        part = _write_part(path, number, kept, str(index.facts["dtype"]))
        lists = _grown_lists(index, number, [*index.parts, np.load(path / part["vectors"], "r")])
        facts = {**index.facts, "parts": [*index.facts["parts"], part], "lists": lists}
        write_text(path / FACTS, json.dumps(facts, indent=1))
    if old:
        (path / Path(str(old["file"])).name).unlink(missing_ok=True)
    return _searched(done, lists)


def _changed(index: VectorIndex, rows: Gathered, known: np.ndarray) -> list[str]:
    """Ids whose vectors differ by more than rounding from those in the index: their items are other ones by now."""
    found = []
    places = np.flatnonzero(known)
    for start in range(0, len(places), COMPARED_AT_ONCE):
        some = places[start : start + COMPARED_AT_ONCE]
        there = index.vectors([index.place(rows.ids[row]) for row in some])
        alike = np.einsum("nd,nd->n", unit(rows.vectors[some]), unit(there))
        found += [rows.ids[row] for row in some[alike < 1.0 - ROUNDING]]
    return found


def _doubled(ids: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(ids).items() if count > 1]


def _grown_lists(index: VectorIndex, number: int, vectors: list[np.ndarray]) -> dict[str, Any] | None:
    """The lists with new vectors (the last ones) in them, or made anew; None where every row is compared."""
    path, old, total = index.folder, index.facts["lists"], sum(map(len, vectors))
    if old and total < GROWN * old["fitted"]:
        grown = Lists.read(path / Path(str(old["file"])).name, old, to_grow=True)
        grown.add(vectors[-1])
        grown.settle(vectors)
        return _write_lists(path, number, grown)
    return _write_lists(path, number, Lists.built(vectors)) if old or total > EXACT_BELOW else None


@contextmanager
def _all_or_none(folder: Path) -> Iterator[int]:
    """The number of new files; they are removed if not all of them, and what names them, could be written."""
    number = _next_number(folder)
    try:
        yield number
    except BaseException:
        for path in folder.iterdir():
            if (found := OWN.fullmatch(path.name)) and int(found[1]) == number:
                path.unlink(missing_ok=True)
        raise


def _check_same(index: VectorIndex, rows: Gathered) -> None:
    own, new = index.origin, rows.origin
    if new.identity != own.identity:
        raise CheckpointError(
            f"{index.folder} holds vectors of another model",
            index_of=own.identity[:12] or "unknown", got=new.identity[:12] or "unknown",
            hint="build an index of its own with this model",
        )  # fmt: skip
    if rows.vectors.shape[1] != index.width:
        raise CheckpointError(f"vectors of {rows.vectors.shape[1]} numbers; {index.folder} holds {index.width}")
    for name in own.vectors:
        if own.vectors[name] != new.vectors.get(name) and bool(own.model) == bool(new.model):
            raise CheckpointError(
                f"{name} {new.vectors.get(name)!r}; the vectors in {index.folder} were taken with {own.vectors[name]!r}"
            )


def _next_number(folder: Path) -> int:
    taken = [int(one.stem.rpartition("-")[2]) for one in folder.glob("vectors-*.npy")]
    return max(taken, default=-1) + 1


def _write_part(folder: Path, number: int, rows: Gathered, dtype: str) -> dict[str, Any]:
    names = {"vectors": f"vectors-{number:03}.npy", "rows": f"rows-{number:03}.parquet"}
    save_array(folder / names["vectors"], unit(rows.vectors).astype(dtype))
    columns: dict[str, Any] = {ID: texts(rows.ids), PLACE: pa.array(rows.places, pa.int64())}
    for name, cells in rows.columns.items():
        if name not in columns:
            columns[name] = _column(cells)
    with written_whole(folder / names["rows"]) as partial, partial.open("wb") as file:
        pq.write_table(pa.table(columns), file)
    return {**names, "count": len(rows.ids), "origin": asdict(rows.origin)}


def _column(cells: Sequence[Any]) -> pa.Array:
    if all(one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in cells):
        return pa.array([None if one is None else float(one) for one in cells], pa.float64())
    return texts([None if one is None else str(one) for one in cells])


def _write_lists(folder: Path, number: int, lists: Lists) -> dict[str, Any]:
    name = f"lists-{number:03}.faiss"
    with written_whole(folder / name) as partial:
        lists.save(partial)
    return {"file": name, **lists.facts()}


def _searched(added: Added, lists: Mapping[str, Any] | None) -> Added:
    """With what was measured of the lists, if there are any."""
    return replace(added, recall=lists["recall"], share=lists["probes"] / lists["lists"]) if lists else added


def _clear(old: Sequence[Path], facts: Mapping[str, Any]) -> None:
    """Remove files of the index before; nothing else."""
    used = {FACTS, *(one[key] for one in facts["parts"] for key in ("vectors", "rows"))}
    used |= {str(facts["lists"]["file"])} if facts["lists"] else set()
    for path in old:
        if OWN.fullmatch(path.name) and path.name not in used:
            path.unlink()


def _first(rows: Gathered, good: np.ndarray) -> str:
    lost = np.flatnonzero(~good)
    return (rows.reason[lost[0]] or "its vector is zero or not finite") if len(lost) else ""
