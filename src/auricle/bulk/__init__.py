"""Whole datasets: rows in, shards of transcripts out, each row once, however often the run is killed."""

from auricle.bulk.options import BulkOptions
from auricle.bulk.run import transcribe_corpus
from auricle.bulk.summary import Progress, Summary

__all__ = ["BulkOptions", "Progress", "Summary", "transcribe_corpus"]
