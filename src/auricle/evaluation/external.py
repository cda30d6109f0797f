"""Predictions that others made: files or a run's folder with both texts, or two files of references and texts.

Pairs of files are plain text line by line, NIST's .trn (``text (id)``), or .stm references with .ctm words, each of
which goes to one segment.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from auricle.corpora.lines import columns_of, refuse_other_separator, table
from auricle.errors import OptionError
from auricle.evaluation.predictions import REFERENCE_KEYS, Prediction, prediction_of, read_lines, read_text
from auricle.evaluation.runs import is_run, read_parquet, read_run
from auricle.evaluation.turns import IGNORED, records, seconds

_TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()]+)\)\s*$")
_COMMENTS = (";;",)  # in .ctm and .stm


def read_external(predictions: Path, references: Path | None = None) -> list[Prediction]:
    """Read what to score; `references` only where the predictions' file has none.

    Raises:
        OptionError: a file cannot be read, the two do not fit together, or references are given twice or not at all.
    """
    endings = predictions.suffix.lower(), references.suffix.lower() if references is not None else None
    return _numbered(_read(predictions, references, endings))


def _numbered(rows: list[Prediction]) -> list[Prediction]:
    """Give ids that come again a number, in their order: they are what two models are compared by."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        seen[row.id] += 1
        found.append(row if seen[row.id] == 1 else replace(row, id=f"{row.id} ({seen[row.id]})"))
    return found


def _read(predictions: Path, references: Path | None, endings: tuple[str, str | None]) -> list[Prediction]:
    if ".rttm" in endings:
        raise OptionError(
            f"{predictions if endings[0] == '.rttm' else references} has speakers' turns and no texts; add "
            "--task speaker-diarization to score them"
        )
    if predictions.is_dir():
        return _folder(predictions, references)
    if not predictions.exists():
        raise OptionError(f"{predictions} cannot be read: there is no such file; look at the path")
    if references is None:
        read = _WHOLE.get(endings[0])
        if read is None:
            raise OptionError(
                f"{predictions} has no references that are known of; give --references FILE, or a file with both: "
                f"{', '.join(_WHOLE)}"
            )
        return read(predictions)
    if endings[0] in _WHOLE:
        raise OptionError(f"{predictions} has references of its own; leave --references {references} out")
    if endings == (".trn", ".trn"):
        return _by_name(_trn(predictions), _trn(references), predictions, references)
    if endings == (".ctm", ".stm"):
        return _stm_with_ctm(predictions, references)
    if any(ending in (".trn", ".ctm", ".stm") for ending in endings):
        raise OptionError(
            f"{predictions} and {references} do not fit together; .trn needs .trn, and .ctm needs .stm references"
        )
    return _by_line(predictions, references)


def _folder(folder: Path, references: Path | None) -> list[Prediction]:
    if not is_run(folder):
        raise OptionError(
            f"{folder} is a folder, and none that `auricle transcribe --out` wrote; give such a one, or a file: "
            f"{', '.join(_WHOLE)}"
        )
    if references is not None:
        raise OptionError(f"rows of {folder} have references of their own; leave --references {references} out")
    return read_run(folder)


def _jsonl(path: Path) -> list[Prediction]:
    lines = read_lines(path)
    heard = {one.id for one in lines if one.error is None}
    return [one for one in lines if one.error is None or one.id not in heard]  # of ours, some were tried again


def _json(path: Path) -> list[Prediction]:
    """Read one list of objects; NeMo writes an object in each line of files with this ending."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith("{"):
            return _jsonl(path)
        raise OptionError(f"{path} is no JSON: {error}; expected a list of objects, or one in each line") from None
    if isinstance(content, dict):  # one line alone
        content = [content]
    if not isinstance(content, list):
        raise OptionError(f"{path} holds {type(content).__name__}; expected a list of objects")
    return [prediction_of(row, f"{path}, [{place}]", str(place + 1)) for place, row in enumerate(content)]


def _table(path: Path) -> list[Prediction]:
    """Read a table as data sets' are read: .tsv has no quotes. What would be left out there is refused here."""

    def refuse(where: str, reason: str) -> None:
        raise OptionError(
            f"{path}: {reason} ({where}); expected as many fields as there are columns, in UTF-8, and in a .csv quotes "
            "around what holds a comma. Write it so, or as .jsonl"
        )

    refuse_other_separator(path, columns_of(path), REFERENCE_KEYS)
    rows = table(path, refuse)
    return [prediction_of(row, f"{path}, row {place}", str(place)) for place, (_, row) in enumerate(rows, 1)]


_WHOLE: dict[str, Callable[[Path], list[Prediction]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": read_parquet,
}


def _by_line(predictions: Path, references: Path) -> list[Prediction]:
    heard, said = _lines(predictions), _lines(references)
    if len(heard) != len(said):
        raise OptionError(
            f"{predictions} has {len(heard)} lines and {references} has {len(said)}; expected one text a line in each"
        )
    return [Prediction(str(place), *pair) for place, pair in enumerate(zip(said, heard, strict=True), 1)]


def _lines(path: Path) -> list[str]:
    text = read_text(path)
    return text.removesuffix("\n").split("\n") if text else []


def _trn(path: Path) -> dict[str, str]:
    found = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        match = _TRN_LINE.fullmatch(line)
        if match is None:
            raise OptionError(f"{path}, line {number} is {line!r}; expected a text and its id in parentheses")
        if match["id"] in found:
            raise OptionError(f"{path}, line {number} has the id {match['id']!r} again; expected each once")
        found[match["id"]] = match["text"]
    return found


def _by_name(heard: dict[str, str], said: dict[str, str], predictions: Path, references: Path) -> list[Prediction]:
    unknown = [name for name in heard if name not in said]
    if unknown:
        raise OptionError(
            f"{len(unknown)} ids of {predictions} are not in {references}, {unknown[0]!r} the first; give the "
            "references that belong to them"
        )
    missing = "it has no line in the predictions"
    return [
        Prediction(name, text, heard.get(name), error=None if name in heard else missing) for name, text in said.items()
    ]


def _stm_with_ctm(predictions: Path, references: Path) -> list[Prediction]:
    words: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for fields, where in records(predictions, 5, _COMMENTS):
        start, duration = seconds(fields[2], where), seconds(fields[3], where)
        words.setdefault((fields[0], fields[1].upper()), []).append((start + duration / 2, fields[4]))
    found, segments = [], list(records(references, 5, _COMMENTS))
    unknown = words.keys() - {(fields[0], fields[1].upper()) for fields, _ in segments}
    if unknown:
        recording, channel = min(unknown)
        raise OptionError(
            f"{predictions} has words of {recording!r}, channel {channel!r}, and {references} has no segment of it; "
            "expected the same names and channels in both"
        )
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for fields, where in segments:
        times = seconds(fields[3], where), seconds(fields[4], where)
        spans.setdefault((fields[0], fields[1].upper()), []).append(times)
    heard = {place: iter(_dealt(words.get(place, []), of_place)) for place, of_place in spans.items()}
    for fields, where in segments:
        place = fields[0], fields[1].upper()
        text = " ".join(part for part in fields[5:] if not (part.startswith("<") and part.endswith(">")))
        found.append(
            Prediction(
                id=f"{fields[0]}-{fields[1]}-{fields[3]}-{fields[4]}",
                reference=text.replace(IGNORED.upper(), IGNORED),
                prediction=" ".join(next(heard[place])),
                audio=fields[0],
                duration=seconds(fields[4], where) - seconds(fields[3], where),
                speaker=fields[2],
            )
        )
    return found


def _dealt(words: list[tuple[float, str]], spans: list[tuple[float, float]]) -> list[list[str]]:
    """Give every word to one segment: the earliest that ends behind its middle, or the last there is.

    What was heard between two segments, where nobody spoke, thus counts as inserted before the second.

    Source: SCTK, src/sclite/stm2ctm.c, segment_hyp_for_utt.
    """
    dealt: list[list[str]] = [[] for _ in spans]
    order = sorted(range(len(spans)), key=lambda number: spans[number])
    at = 0
    for middle, word in sorted(words):
        while at < len(order) - 1 and middle >= spans[order[at]][1]:
            at += 1
        dealt[order[at]].append(word)
    return dealt
