"""Makes `whisper_toy`, which lies beside the tests, importable by its name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if "whisper_toy" not in sys.modules:
    spec = importlib.util.spec_from_file_location("whisper_toy", Path(__file__).with_name("whisper_toy.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["whisper_toy"] = module
    spec.loader.exec_module(module)
