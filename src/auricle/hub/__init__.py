"""A name in, a local folder out: bundled, a folder as it is, or of the Hub; the cache before the network."""

from __future__ import annotations

from auricle.hub.cache import BUNDLED, BUNDLED_DIARIZATION, CachedModel
from auricle.hub.names import cached_models, commit_of, download, locate, locate_config, locate_file

__all__ = [
    "BUNDLED",
    "BUNDLED_DIARIZATION",
    "CachedModel",
    "cached_models",
    "commit_of",
    "download",
    "locate",
    "locate_config",
    "locate_file",
]
