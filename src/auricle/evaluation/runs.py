"""Runs of `auricle transcribe --out` as predictions: all shards of a folder, and the data set that they are of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auricle.corpora.parquet import opened
from auricle.corpora.walk import RUN_PLAN
from auricle.errors import OptionError
from auricle.evaluation.predictions import Prediction, prediction_of, read_lines, read_text

_ENDINGS = (".jsonl", ".json", ".ndjson", ".parquet", ".csv", ".tsv")  # of data sets that are one file


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / RUN_PLAN).is_file()


def read_run(folder: Path) -> list[Prediction]:
    """Read the rows of all shards, in the data set's order.

    Raises:
        OptionError: the run is not finished, a shard is missing, or no row has a reference.
    """
    plan = _plan(folder)
    n_rows = plan.get("rows")
    if not isinstance(n_rows, int):
        raise OptionError(f"the run in {folder} is not finished; go on with it (the command that began it), then score")
    found = list(_rows(folder, f"shard-*.{plan.get('form', 'jsonl')}"))
    if len(found) != n_rows:
        raise OptionError(
            f"{folder} has {len(found)} rows in its shards and {n_rows} by its {RUN_PLAN}; the command that began it "
            "makes what is missing anew"
        )
    if found and all(one.reference is None for one in found):
        raise OptionError(f"no row of {folder} has a reference: the data set that was transcribed has no texts")
    return found


def read_parquet(path: Path) -> list[Prediction]:
    """Read a Parquet file, such as a shard.

    Raises:
        OptionError: it is none, or a row is no prediction. MissingExtraError: pyarrow is not installed.
    """
    file = opened(path)
    # A stored recording is no part of what is scored.
    wanted = [name for name in file.schema_arrow.names if name not in ("chunks", "warnings", "audio")]
    rows = (row for batch in file.iter_batches(columns=wanted) for row in batch.to_pylist())
    return [prediction_of(row, f"{path}, row {number}", str(number)) for number, row in enumerate(rows, 1)]


def data_set_of(path: Path) -> str | None:
    """Return what the data set of a run is called, of a run's folder or a file in it; None for anything else."""
    folder = path if path.is_dir() else path.parent
    if not is_run(folder):
        return None
    told = _plan(folder).get("dataset")
    name = told.get("name") if isinstance(told, Mapping) else None
    if not isinstance(name, str) or name.startswith("<"):  # rows that were in memory have no name
        return None
    # A folder or a file by its last part; what follows in brackets is its split.
    whole, bracket, split = name.partition(" [")
    last = Path(whole).name or whole
    last = next((last.removesuffix(ending) for ending in _ENDINGS if last.endswith(ending)), last)
    return f"{last}{bracket}{split}"


def _rows(folder: Path, pattern: str) -> Iterator[Prediction]:
    for path in sorted(folder.glob(pattern)):
        yield from read_parquet(path) if path.suffix == ".parquet" else read_lines(path)


def _plan(folder: Path) -> Mapping[str, Any]:
    path = folder / RUN_PLAN
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise OptionError(f"{path} is no JSON: {error}; give a folder that `auricle transcribe --out` wrote") from None
    if not isinstance(found, Mapping):
        raise OptionError(f"{path} is no plan of a run; give a folder that `auricle transcribe --out` wrote")
    return found
