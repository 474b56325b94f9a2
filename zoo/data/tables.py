"""Tables of pictures and what is known of each: CSV, TSV, JSON lines and Parquet.

Nothing is guessed: every cell of CSV and TSV is a text, and cells of the other two are what the file says. JSON lines
are read one by one by Python itself, since polars makes the values of a column alike: a list among texts becomes a
text.
"""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import DataError
from zoo.names import listed, near_hint
from zoo.units import some

MOST = 20
"""How many mistakes are told one by one."""


@dataclass(frozen=True)
class Columns:
    """Where a table has what; what is not given is looked for in `image` and `label`."""

    image: str | None = None
    label: tuple[str, ...] = ()
    separator: str | None = None
    """What stands between several labels in one cell, `|` unless given."""
    root: Path | None = None
    """The folder that paths are relative to, the table's own unless given."""


@dataclass(frozen=True)
class TableRow:
    """One row of a table."""

    number: int
    """As a spreadsheet counts them: the line with the columns' names, where there is one, is row 1."""
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table as it was read."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]

    def require(self, column: str, key: str) -> str:
        """The column itself; raises DataError with near names where the table has none of that name."""
        if column in self.columns:
            return column
        hints = near_hint(column, self.columns) or (f"it has: {listed(self.columns, 12)}",)
        if len(self.columns) == 1 and ";" in self.columns[0]:
            hints = ("its columns are separated by semicolons; save it with commas, or with tabs as .tsv",)
        raise DataError(f"{self.path} has no column {column!r}.", *hints, f"--{key} names another")


def is_table(path: Path) -> bool:
    """Whether a path is that of a table, by its name.

    >>> is_table(Path("labels.CSV")), is_table(Path("imgs"))
    (True, False)
    """
    return path.suffix.lower() in READERS and not path.is_dir()


def read_table(path: Path) -> Table:
    """The rows of a table without those that are empty.

    Raises DataError for one that does not exist or cannot be read.
    """
    if not path.is_file():
        parent = path.parent if path.parent.is_dir() else Path()
        others = [each.name for each in parent.iterdir() if is_table(each)]
        raise DataError(f"there is no table {path}.", *near_hint(path.name, others))
    try:
        columns, rows = READERS[path.suffix.lower()](path)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the table {path} cannot be read: {str(error).splitlines()[0]}.") from error
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"the table {path} has two columns {twice[0]!r}.", "rename one of them")
    filled = tuple(row for row in rows if any(value not in (None, "") for value in row.cells.values()))
    if not filled:
        raise DataError(f"the table {path} has no row.", f"its columns: {listed(columns, 12) or 'none'}")
    return Table(path, tuple(columns), filled)


Read = tuple[list[str], Iterator[TableRow]]


def _read_csv(path: Path, separator: str = ",") -> Read:
    import polars

    with path.open(encoding="utf-8-sig", newline="") as file:
        # polars would rename a second column of the same name.
        names = _first_row(csv.reader(file, delimiter=separator))
    if len(set(names)) < len(names):
        return names, iter(())
    try:
        frame = polars.read_csv(path, separator=separator, infer_schema=False)
    except polars.exceptions.NoDataError:
        return names, iter(())
    except polars.exceptions.PolarsError as error:
        raise ValueError(_open_quote(path) or _too_long(path, separator) or _reason(error)) from error
    return frame.columns, (TableRow(number, cells) for number, cells in enumerate(frame.iter_rows(named=True), 2))


def _open_quote(path: Path) -> str | None:
    """Where a quote in a table that cannot be read is left open, which polars tells in words of its own."""
    with path.open(encoding="utf-8-sig") as file:
        number = next((number for number, line in enumerate(file, 1) if line.count('"') % 2), None)
    if number is None:
        return None
    return f"line {number} has a quote that is not closed; in a cell it is written twice, and the cell within quotes"


def _too_long(path: Path, separator: str) -> str | None:
    """Which row has more cells than there are columns."""
    # What the reader itself cannot take is told in polars' words.
    with path.open(encoding="utf-8-sig", newline="") as file, contextlib.suppress(csv.Error):
        rows = csv.reader(file, delimiter=separator)
        columns = len(next(rows, []))
        for number, row in enumerate(rows, 2):
            if len(row) > columns:
                return f"row {number} has {len(row)} cells, and there are {columns} columns"
    return None


def _first_row(rows: Iterator[list[str]]) -> list[str]:
    try:
        return next(rows, [])
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start:,}; save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise ValueError(f"{error} in the columns' names; is a quote not closed?") from error


def _read_tsv(path: Path) -> Read:
    return _read_csv(path, "\t")


def _read_json_lines(path: Path) -> Read:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                cells = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from error
            if not isinstance(cells, dict):
                raise ValueError(f"line {number} is no JSON object")
            rows.append(TableRow(number, cells))
    return list(dict.fromkeys(name for row in rows for name in row.cells)), iter(rows)


def _read_parquet(path: Path) -> Read:
    import polars

    try:
        frame = polars.read_parquet(path)
    except polars.exceptions.PolarsError as error:
        raise ValueError(_reason(error)) from error
    return frame.columns, (TableRow(number, cells) for number, cells in enumerate(frame.iter_rows(named=True), 1))


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


READERS: Mapping[str, Callable[[Path], Read]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}


def refuse(table: Table, mistakes: Sequence[str], way: str = "mend them, or take the rows away.") -> None:
    """Raise DataError that tells the mistakes of a table's rows, if there are any."""
    if not mistakes:
        return
    more = [f"… and {len(mistakes) - MOST:,} more"] if len(mistakes) > MOST else []
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes):,} mistakes"
    raise DataError(f"{table.path} has {count} in {some(len(table.rows), 'row')}:", *mistakes[:MOST], *more, way)
