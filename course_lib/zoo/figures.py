"""Measured figures: what the benchmarks of tests/benchmarks measured and data/figures ships, as tables."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from course_lib import validate
from course_lib.files import DATA


def names() -> list[str]:
    """The files of figures that ship."""
    return sorted(path.stem for path in (DATA / "figures").glob("*.json"))


def raw(name: str) -> dict[str, Any]:
    """All of one file of figures, as JSON holds it. Raises ValueError where there is none of that name."""
    validate.choice("name", name, names())
    return json.loads((DATA / f"figures/{name}.json").read_text(encoding="utf-8"))


def load(name: str, table: str = "runs") -> pd.DataFrame:
    """One table of a file of figures, a row a run; all else of the file is in `.attrs`.

    The keys of a run and of its `figures` are the columns. What another nested dict holds is a column "outer: inner".
    Raises ValueError where there is no such file, or no such list in it: what is no list of rows is in `raw(name)`.
    """
    found = raw(name)
    tables = [key for key, rows in found.items() if isinstance(rows, list) and all(isinstance(row, dict) for row in rows)]
    if table not in tables:
        raise ValueError(f"table must be one of {', '.join(tables) or 'none, use raw(name)'}, got {table!r}")
    rows = pd.json_normalize(found.pop(table), sep=": ")
    rows.columns = rows.columns.str.removeprefix("figures: ")
    rows.attrs = found
    return rows


def where(table: pd.DataFrame, **keys: Any) -> pd.DataFrame:
    """The rows in which each column of that name has that value.

    Raises ValueError for a column that the table does not have.
    """
    columns = validate.instance("table", table, pd.DataFrame).columns.tolist()
    for key, value in keys.items():
        validate.choice("key", key, columns)
        table = table[table[key] == value]
    return table


def values(table: pd.DataFrame, figure: str, **keys: Any) -> np.ndarray:
    """A figure in the rows with these keys, in the order of the file: (seeds,).

    For a key that has a list of values, the rows of each value in turn: (values, seeds). Raises ValueError where no row has
    these keys, or where some values have more rows than others.
    """
    validate.choice("figure", figure, validate.instance("table", table, pd.DataFrame).columns.tolist())
    along = next((key for key, value in keys.items() if isinstance(value, list | tuple)), None)
    if along is not None:
        rows = [values(table, figure, **keys | {along: value}) for value in validate.filled(along, keys[along])]
        if len({len(row) for row in rows}) > 1:
            raise ValueError(f"each {along} must have as many rows, got {[len(row) for row in rows]} for {list(keys[along])}")
        return np.stack(rows)
    chosen = where(table, **keys)[figure]
    if chosen.empty:
        raise ValueError(f"{', '.join(keys)} must be those of a row, got {keys}")
    return chosen.to_numpy(float)
