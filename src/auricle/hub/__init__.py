"""A name in, a local folder out: bundled, a folder as it is, or of the Hub; the cache before the network."""

from __future__ import annotations

from auricle.hub.cache import BUNDLED, CachedModel
from auricle.hub.names import cached_models, commit_of, download, locate, locate_config

__all__ = ["BUNDLED", "CachedModel", "cached_models", "commit_of", "download", "locate", "locate_config"]
