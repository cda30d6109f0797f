"""Which arithmetic the CPU engine takes, and what it does where there are no native kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from auricle.audio.features import Features
from auricle.engines import make_engine
from auricle.engines.cpu import native_library, products
from auricle.engines.cpu.linear import best_arithmetic
from auricle.engines.cpu.memory import HUGE_PAGE, Block, large, room_for
from auricle.engines.cpu.native_sources import sources_number
from auricle.engines.cpu.workers import Workers, divided, mkl
from auricle.errors import OptionError
from auricle.loading import load
from auricle.models.whisper import Whisper

NATIVE = Path(native_library.__file__).with_name("native")
SAMPLE = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"
AMX = frozenset({"avx2", "fma", "f16c", "amx_bf16"})


@pytest.mark.parametrize(("kernels_use_them", "expected"), [(True, "int16"), (False, "bfloat16")])
def test_matrix_units_are_used_for_decoders_and_integers_keep_the_text_of_ctc_models(
    monkeypatch: pytest.MonkeyPatch, kernels_use_them: bool, expected: str
) -> None:
    monkeypatch.setattr(products, "available", lambda: True)
    monkeypatch.setattr(products, "on_matrix_units", lambda: kernels_use_them)
    monkeypatch.delenv(native_library.ISA_VARIABLE, raising=False)
    assert best_arithmetic(AMX, "seq2seq") == expected
    assert best_arithmetic(AMX, "ctc") == "int16"
    assert best_arithmetic(frozenset({"avx2"}), "seq2seq") == "int16"


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_a_limit_holds_for_torch_too(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setattr(products, "available", lambda: True)
    monkeypatch.setattr(products, "on_matrix_units", lambda: False)
    monkeypatch.setenv(native_library.ISA_VARIABLE, isa)
    assert best_arithmetic(AMX, "seq2seq") == "int16"


def test_torch_computes_where_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "available", lambda: False)
    assert best_arithmetic(AMX, "seq2seq") == "bfloat16"
    assert best_arithmetic(AMX, "ctc") == "float32"
    assert best_arithmetic(frozenset({"avx2"}), "seq2seq") == best_arithmetic(frozenset(), "ctc") == "float32"


@pytest.mark.parametrize(("isa", "expected"), [("plain", "None"), ("avx2", "kernels_avx2")])
def test_the_instruction_set_can_be_limited(isa: str, expected: str) -> None:
    if isa != "plain" and native_library.kernels() is None:
        pytest.skip("the package was built without native kernels")
    code = "from auricle.engines.cpu.native_library import kernels; k = kernels(); print(k and k._name)"
    assert expected in python(code, isa)


def test_a_wrong_limit_names_those_that_exist() -> None:
    code = "from auricle.engines.cpu.native_library import kernels\ntry: kernels()\nexcept Exception as e: print(e)"
    assert "AURICLE_CPU_ISA is 'sse'; expected one of plain, avx2, avx512, amx" in python(code, "sse")


@pytest.mark.skipif(not products.available(), reason="built without native kernels for this processor")
def test_kernels_that_the_system_refuses_give_way_to_slower_ones(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Library:
        def __init__(self, path: str) -> None:
            self.path = path
            self.auricle_sources = Mock(return_value=sources_number(NATIVE))

        def auricle_prepare(self) -> int:
            return "avx2" in self.path

    monkeypatch.setattr(native_library.ctypes, "CDLL", Library)
    monkeypatch.setattr(native_library, "cpu_flags", lambda: native_library.NEEDED_FLAGS["amx"])
    monkeypatch.setattr(native_library, "_refused", set())
    monkeypatch.delenv(native_library.ISA_VARIABLE, raising=False)
    assert not native_library.is_limited()
    found = native_library.kernels.__wrapped__()
    assert "kernels_avx2" in found.path
    assert native_library.is_limited()
    assert "does not let the native kernels kernels_amx" in caplog.text


@pytest.mark.skipif(not products.available(), reason="built without native kernels for this processor")
@pytest.mark.parametrize("symbols", [{}, {"auricle_sources": lambda: 1}])
def test_kernels_of_other_sources_are_not_used_and_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, symbols: dict[str, Any]
) -> None:
    prepared = Mock(return_value=1)
    monkeypatch.setattr(native_library, "_stale", set())
    monkeypatch.setattr(
        native_library.ctypes, "CDLL", lambda path: SimpleNamespace(auricle_prepare=prepared, **symbols)
    )
    monkeypatch.setattr(native_library, "cpu_flags", lambda: native_library.NEEDED_FLAGS["amx"])
    monkeypatch.delenv(native_library.ISA_VARIABLE, raising=False)
    assert native_library.kernels.__wrapped__() is None
    prepared.assert_not_called()
    (said,) = [record.getMessage() for record in caplog.records]
    assert "were built from other sources" in said
    assert "pip install -e ." in said
    monkeypatch.setattr(native_library, "kernels", Mock(return_value=None))
    assert all(f"kernels_{isa}" in (native_library.stale_kernels() or "") for isa in native_library.NEEDED_FLAGS)


@pytest.mark.skipif(not products.available(), reason="built without native kernels for this processor")
def test_a_wheel_which_has_no_sources_uses_its_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sources_number(tmp_path) is None
    monkeypatch.setattr(native_library, "sources_number", lambda folder: None)
    assert native_library.kernels.__wrapped__() is not None


def test_any_change_of_the_sources_changes_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.cpp").write_text("int a;\n")
    (tmp_path / "b.h").write_text("int b;\n")
    before = sources_number(tmp_path)
    (tmp_path / "b.h").write_text("int b = 1;\n")
    changed = sources_number(tmp_path)
    (tmp_path / "b.h").rename(tmp_path / "c.h")
    assert len({before, changed, sources_number(tmp_path)}) == 3
    (tmp_path / "c.h").unlink()
    (tmp_path / "b.h").write_bytes(b"int b;\r\n")  # as a checkout on another system has it
    assert sources_number(tmp_path) == before


@pytest.mark.parametrize("isa", ["avx2", "avx512", "amx"])
def test_without_kernels_the_bundled_model_writes_the_same(isa: str) -> None:
    jfk = SAMPLE.with_name("jfk.flac")
    # With its language model the last word of the other sample is a tie; of 300 recordings 2 differ.
    code = (
        "import auricle; hear = auricle.pipeline(model='bundled', device='cpu'); "
        f"print(hear({str(SAMPLE)!r}, lm=False)['text'], hear({str(jfk)!r})['text'])"
    )
    plain = python(code, "plain")
    assert len(plain.split()) > 30
    assert plain == python(code, isa)


def python(code: str, isa: str) -> str:
    """What a new process prints with the instruction set limited."""
    environment = {**os.environ, native_library.ISA_VARIABLE: isa}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_what_the_engine_does_not_compute_in_is_refused() -> None:
    with pytest.raises(OptionError, match=r"does not compute in torch.float16; expected 'auto', float32 or bfloat16"):
        make_engine(Whisper(Whisper.tiny()), name="cpu", dtype="float16")


@pytest.mark.parametrize("shape", [[3, 5], [700, 1024]])
def test_large_memory_is_zero_and_writable(shape: list[int]) -> None:
    tensor = large(shape, torch.float32)
    assert tensor.shape == tuple(shape)
    assert not tensor.any()
    tensor[-1, -1] = 3
    assert tensor.sum() == 3


def test_tensors_of_a_block_do_not_overlap_and_begin_anew_when_it_is_cleared() -> None:
    sizes = [((3, 7), torch.int8), ((5,), torch.float32), ((HUGE_PAGE // 2,), torch.float16)]
    block = Block(sum(room_for(*one) for one in sizes))
    tensors = [block.take(*one) for one in sizes]
    for value, tensor in enumerate(tensors, start=1):
        tensor.fill_(value)
    assert [float(tensor.float().mean()) for tensor in tensors] == [1, 2, 3]
    block.clear()
    assert block.take(*sizes[0]).data_ptr() == tensors[0].data_ptr()


@pytest.mark.skipif(not products.available(), reason="built without native kernels for this processor")
@pytest.mark.parametrize("family", ["bundled", "whisper"])
def test_recordings_divided_among_threads_have_the_numbers_of_one_thread(family: str) -> None:
    torch.manual_seed(0)
    model = load("bundled").model if family == "bundled" else Whisper(Whisper.tiny())
    engine = make_engine(model, name="cpu", dtype="auto")
    engine.arithmetic = "int16"
    shape = (5, 217, 80) if family == "bundled" else (3, 80, 3000)
    features = Features(torch.randn(shape), torch.tensor([217, 30, 90, 8, 100])[: shape[0]])
    compute = engine.ctc if family == "bundled" else engine.encode
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected, expected_lengths = compute(features)
        torch.set_num_threads(2)
        found, lengths = compute(features)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)
    assert lengths.tolist() == expected_lengths.tolist()
    for one, other, length in zip(found, expected, lengths.tolist(), strict=True):
        torch.testing.assert_close(one[:length], other[:length], rtol=0, atol=1e-5)


def test_groups_have_all_rows_and_about_the_same_length() -> None:
    assert divided([9, 1, 5, 4, 3], 2) == [[0, 1], [2, 3, 4]] or divided([9, 1, 5, 4, 3], 2) == [[0, 4], [1, 2, 3]]
    assert divided([3, 0], 4) == [[0], [1]]


@pytest.mark.skipif(native_library.kernels() is None, reason="the package was built without native kernels")
@pytest.mark.skipif(mkl("MKL_Get_Max_Threads") is None, reason="this build of torch has no MKL")
def test_workers_compute_alone_whatever_number_torch_was_given() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert mkl("MKL_Get_Max_Threads")() == 2
        found = Workers().each(lambda _: (mkl("MKL_Get_Max_Threads")(), torch.get_num_threads()), range(2))
        assert [n_threads for n_threads, _ in found] == [1, 1]
        assert mkl("MKL_Get_Max_Threads")() == 2
    finally:
        torch.set_num_threads(before)
