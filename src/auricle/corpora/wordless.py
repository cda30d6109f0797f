"""What is said of a dataset where texts are needed and no row has one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from auricle.corpora.corpus import Corpus
from auricle.corpora.utterance import Utterance
from auricle.errors import OptionError

_LOOKED_AT = 100  # rows whose columns are told
# What is missing, by layout.
_ADVICE = {
    "kaldi": "write the file `text` beside wav.scp, with an id and its text in each line",
    "folder": "write x.txt beside x.wav, or give a table with a column of texts",
}


def no_text(corpus: Corpus, rows: Iterable[Utterance]) -> OptionError:
    """Make the error that tells how a dataset was read, and which columns it has beside those that are used."""
    report = corpus.report
    used = ", ".join(f"{role}={name}" for role, name in report.columns.items())
    others = sorted({name for row in islice(rows, _LOOKED_AT) for name in row.extra})
    if report.notes:
        advice = "; ".join(report.notes)
    elif others:
        advice = f"its other columns are {', '.join(others)}: name that of the text (--text-column, text_column=)"
    else:
        advice = _ADVICE.get(corpus.layout, "give a table with a column of texts")
    layout = f"{corpus.layout} ({used})" if used else corpus.layout
    return OptionError(f"none of the rows of {corpus.name} has a text; it was read as {layout}: {advice}")
