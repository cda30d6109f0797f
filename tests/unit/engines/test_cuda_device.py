"""The CUDA engine on a GPU: equal to the reference on the CPU, replayed graphs equal to the plain path."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.audio.decode import load_audio
from auricle.audio.features import Features
from auricle.decoding.ctc import greedy
from auricle.decoding.generate import GenerateOptions, generate
from auricle.engines.cuda import CudaEngine, fastest_dtype
from auricle.engines.reference import ReferenceEngine
from auricle.loading import load
from auricle.models.moonshine import Moonshine
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.whisper import Whisper

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and a CUDA build of torch")

# float32 sums in another order, over two layers of width 32.
TOLERANCE = 1e-4
# bfloat16 keeps 8 bits: after two layers of random weights, a few hundredths of logits of order one.
HALF_PRECISION = 0.1
SAMPLES = Path(__file__).parents[3] / "samples"
FAMILIES = ["whisper", "moonshine"]
N_ROWS = 3


def small(family: str) -> tuple[Any, Features]:
    torch.manual_seed(0)
    if family == "whisper":
        # Heads of the true width, 64, so that the kernels are those of true sizes.
        model = Whisper(Whisper.tiny(max_source_positions=50, d_model=128, decoder_attention_heads=2))
        return model, Features(torch.randn(N_ROWS, 80, 100), torch.tensor([100, 60, 80]))
    return Moonshine(Moonshine.tiny()), Features(torch.randn(N_ROWS, 9000), torch.tensor([9000, 5000, 7000]))


def on_gpu(model: Any, dtype: torch.dtype, fixed: bool = True) -> CudaEngine:
    return CudaEngine(copy.deepcopy(model), torch.device("cuda"), dtype, in_fixed_shapes=fixed)


def walk(step: Any, n_tokens: int = 70) -> list[Tensor]:
    """Logits of a prompt, single tokens, and tokens after rows moved, were repeated and were dropped."""
    generator = torch.Generator().manual_seed(1)
    found = [step.advance(torch.randint(0, 100, (N_ROWS, 4), generator=generator), 4).cpu()]
    for order in ([0, 1, 2], [2, 0, 1], [0, 0, 0, 1, 1, 1, 2, 2, 2], [4, 3, 3, 8], [1]):
        step.reorder(torch.tensor(order))
        for _ in range(n_tokens // 5):
            found.append(step.advance(torch.randint(0, 100, (len(order), 1), generator=generator)).cpu())
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fixed", [True, False])
def test_float32_equals_the_reference_on_the_cpu(family: str, fixed: bool) -> None:
    model, features = small(family)
    reference = ReferenceEngine(copy.deepcopy(model), torch.device("cpu"), torch.float32)
    engine = on_gpu(model, torch.float32, fixed)

    expected = walk(reference.decoder(*reference.encode(features)))
    found = walk(engine.decoder(*engine.encode(features)))

    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_replayed_graphs_equal_the_plain_path(family: str, dtype: torch.dtype) -> None:
    model, features = small(family)
    plain, graphs = on_gpu(model, dtype, fixed=False), on_gpu(model, dtype)

    expected = walk(plain.decoder(*plain.encode(features)))
    found = walk(graphs.decoder(*graphs.encode(features)))

    tolerance = TOLERANCE if dtype == torch.float32 else HALF_PRECISION * float(expected[0].std())
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_side_by_side_do_not_disturb_each_other(family: str) -> None:
    model, features = small(family)
    engine = on_gpu(model, torch.float32)
    states, lengths = engine.encode(features)
    backwards = states.flip(0), lengths.flip(0)
    tokens = torch.randint(0, 100, (20, N_ROWS, 1))  # enough to be captured
    alone = []
    for heard in ((states, lengths), backwards):
        step = engine.decoder(*heard)
        alone.append([step.advance(one).cpu() for one in tokens])

    together: list[list[Tensor]] = [[], []]
    both = engine.decoder(states, lengths), engine.decoder(*backwards)
    for one in tokens:
        for step, found in zip(both, together, strict=True):
            found.append(step.advance(one).cpu())

    torch.testing.assert_close(together, alone, atol=TOLERANCE, rtol=0)


def test_beams_write_what_they_write_with_the_reference() -> None:
    model, features = small("whisper")
    reference = ReferenceEngine(copy.deepcopy(model), torch.device("cpu"), torch.float32)
    options = GenerateOptions(eos=2, max_new_tokens=20, n_beams=4)
    prompt = torch.tensor([[1, 3], [4, 5], [6, 7]])

    found = [
        generate(engine.decoder(*engine.encode(features)), prompt, options)
        for engine in (reference, on_gpu(model, torch.float32))
    ]

    assert [one.tokens for one in found[0]] == [one.tokens for one in found[1]]


def test_memory_stays_the_same_from_step_to_step() -> None:
    model, features = small("whisper")
    engine = on_gpu(model, torch.bfloat16)
    used = []
    for _ in range(6):  # a shape is captured when it was seen often
        walk(engine.decoder(*engine.encode(features)))
        torch.cuda.synchronize()
        used.append(torch.cuda.memory_allocated())

    assert used[3] == used[4] == used[5]


def test_word_times_are_computed_on_the_gpu() -> None:
    model, features = small("whisper")
    tokens, heads = torch.tensor([[1, 2, 3]] * N_ROWS), [(0, 1), (1, 0)]
    reference = ReferenceEngine(copy.deepcopy(model), torch.device("cpu"), torch.float32)
    engine = on_gpu(model, torch.bfloat16)
    with torch.inference_mode():
        expected = reference.model.cross_attention(tokens, *reference.encode(features), heads)
        weights = engine.model.cross_attention(tokens.cuda(), *engine.encode(features), heads)

    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.cpu(), expected, atol=0.01, rtol=0)


def test_ctc_in_float32_equals_the_reference_on_the_cpu() -> None:
    torch.manual_seed(0)
    model = Wav2Vec2CTC(Wav2Vec2CTC.tiny())
    features = Features(torch.randn(2, 9000), torch.tensor([9000, 5000]))
    expected, lengths = ReferenceEngine(copy.deepcopy(model), torch.device("cpu"), torch.float32).ctc(features)

    log_probs, _ = on_gpu(model, torch.float32).ctc(features)

    for row, n_frames in enumerate(lengths.tolist()):
        torch.testing.assert_close(log_probs[row, :n_frames], expected[row, :n_frames], atol=TOLERANCE, rtol=0)


def test_trained_model_writes_the_same_text_in_half_precision() -> None:
    loaded = load("bundled")
    features = loaded.features([load_audio(SAMPLES / "jfk.flac")])
    expected, _ = ReferenceEngine(copy.deepcopy(loaded.model), torch.device("cpu"), torch.float32).ctc(features)

    log_probs, _ = on_gpu(loaded.model, fastest_dtype(torch.device("cuda"))).ctc(features)

    blank = loaded.config.pad_token_id
    found, wanted = (greedy(one[0], blank).tokens for one in (log_probs, expected))
    assert [token.id for token in found] == [token.id for token in wanted]
