"""Stored predictions scored again, in another way or in the way of today."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from auricle.errors import OptionError
from auricle.evaluation.normalizers import Normalizer
from auricle.evaluation.predictions import read_jsonl
from auricle.evaluation.rows import SPEECH, Made, read_rows, speech_row, write_json
from auricle.evaluation.scoring import Sampling, Score, score

Chosen = Callable[[Sequence[str | None]], Normalizer]  # by the languages of the utterances


def rescore(folder: Path, choose: Chosen, sampling: Sampling) -> Iterator[tuple[Path, dict[str, Any], Score]]:
    """Score every row of a folder that has predictions again, and write its file anew; give path, row and score.

    What the row says of how predictions were made stays as it is. Rows without predictions are passed over.

    Raises:
        OptionError: a file cannot be read, or holds several rows.
    """
    for path, row in list(read_rows(folder)):
        name = row.get("predictions")
        if not name or row.get("task", SPEECH) != SPEECH:
            continue
        if path.with_name(name).stem != path.stem:
            raise OptionError(f"{path} and its predictions {name} have different names; expected {path.stem}.jsonl")
        predictions = read_jsonl(path.with_name(name))
        one = score(predictions, choose([line.language for line in predictions]), sampling)
        made = Made(
            model=row["model"],
            dataset=row["dataset"],
            hardware=row.get("hardware"),
            machine=row.get("machine") or {},
            options=row.get("options") or {},
            revision=row.get("revision"),
            date=row.get("date"),
            left_out={reason: told["n"] for reason, told in (row.get("dropped") or {}).items() if not told.get("ids")},
        )
        again = speech_row(one, made, name)
        write_json(path, again)
        yield path, again, one
