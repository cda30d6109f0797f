"""Whole datasets: rows in, shards of transcripts out, each row once."""
