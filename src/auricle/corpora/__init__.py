"""Datasets of speech: a folder, a file or a Hub name in; utterances one by one, and a report of what was found."""

from auricle.corpora.corpus import Corpus
from auricle.corpora.detect import open_corpus
from auricle.corpora.report import Found, LeftOut, Report
from auricle.corpora.utterance import Utterance
from auricle.corpora.wordless import no_text

__all__ = ["Corpus", "Found", "LeftOut", "Report", "Utterance", "no_text", "open_corpus"]
