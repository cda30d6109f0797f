"""What waits until it is used while a command starts, and that it is there when it is used."""

from __future__ import annotations

import gc
import subprocess
import sys

from auricle.cli.startup import quick_imports

# In a process of its own: torch is imported once only.
START = """
import importlib, sys
from auricle.cli.startup import quick_imports
with quick_imports():
    import torch
"""


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_shapes_for_compilers_are_not_loaded_by_importing_torch() -> None:
    assert run("print('torch._refs' in sys.modules)") == "False"


def test_every_family_is_built_without_what_waits() -> None:
    code = """
from auricle.models import MODELS
for place in MODELS.values():
    module, _, name = place.partition(":")
    family = getattr(importlib.import_module(module), name)
    with torch.device("meta"):
        family(family.tiny())
print('torch._refs' in sys.modules)
"""
    assert run(code) == "False"


def test_a_part_of_torch_is_loaded_when_it_is_used() -> None:
    assert run("print(torch.distributions.Normal(0.0, 1.0).mean.item(), callable(torch.export.export))") == "0.0 True"


def test_who_asks_where_every_module_is_loads_none() -> None:
    code = "import inspect; inspect.stack(); "
    assert run(code + "print('torch.distributions.normal' in sys.modules)") == "False"


def test_compilers_find_the_shapes_of_all_operators() -> None:
    code = """
import torch._dynamo
print('torch._refs' in sys.modules, torch.compile(lambda x: x * 2, backend="eager")(torch.ones(1)).item())
"""
    assert run(code) == "True 2.0"


def test_garbage_is_looked_for_again_afterwards() -> None:
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
