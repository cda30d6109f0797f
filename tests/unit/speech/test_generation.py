"""The generation parameters, from a model's options to the tokens of its segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.waveform import WaveformFeatures
from auricle.engines import make_engine
from auricle.errors import OptionError
from auricle.models.moonshine import Moonshine
from auricle.speech.seq2seq import Seq2SeqOptions, Seq2SeqRecognizer

pytestmark = pytest.mark.usefixtures("every_engine")

RATE = 16_000
SECONDS = (1.0, 2.5, 4.0)


class Noise:
    """A recording in one block."""

    def __init__(self, seconds: float, seed: int) -> None:
        self.seconds, self.seed = seconds, seed

    def blocks(self) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(self.seed)
        yield (generator.standard_normal(round(self.seconds * RATE)) * 0.1).astype(np.float32)


class Letters:
    """Ids 0-2 are special; the others are letters."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + (id - 3) % 26) for id in ids if id > 2)


@pytest.fixture(scope="module")
def recognizer() -> Seq2SeqRecognizer:
    torch.manual_seed(0)
    config = Moonshine.tiny(max_position_embeddings=194)
    model = Moonshine(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.3)
    features = WaveformFeatures.from_config({"do_normalize": False})
    return Seq2SeqRecognizer(make_engine(model), features, Letters(), config, {})


def tokens(recognizer: Seq2SeqRecognizer, rows: Sequence[int] = (0, 1, 2), **options: Any) -> list[tuple[int, ...]]:
    sounds = [Noise(SECONDS[row], row) for row in rows]
    asked = Seq2SeqOptions(vad=False, compression_ratio_threshold=None, tokens_per_second=10.0, **options)
    return [one.segments[0].tokens if one.segments else () for one in recognizer.transcribe(sounds, asked)]


SEARCHES: list[dict[str, Any]] = [
    {"n_beams": 4, "n_beam_groups": 2, "diversity_penalty": 1.0},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"do_sample": True, "top_p": 0.8, "typical_p": 0.9, "epsilon_cutoff": 1e-3, "eta_cutoff": 1e-3},
    {"do_sample": True, "n_beams": 3, "top_k": 20},
    {"n_beams": 3, "early_stopping": "never", "length_penalty": 0.5, "patience": 2.0},
]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_each_search_finds_its_own_text_alone_as_in_company(
    recognizer: Seq2SeqRecognizer, search: dict[str, Any]
) -> None:
    together = tokens(recognizer, **search)
    assert together == [tokens(recognizer, [row], **search)[0] for row in range(3)]
    assert together != tokens(recognizer)
    assert together == tokens(recognizer, use_cache=False, **search)


def test_a_seed_decides_what_is_drawn(recognizer: Seq2SeqRecognizer) -> None:
    first, again, other = (tokens(recognizer, do_sample=True, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_lengths_hold_within_the_tokens_that_a_second_of_sound_may_have(recognizer: Seq2SeqRecognizer) -> None:
    assert [len(one) for one in tokens(recognizer, min_new_tokens=15, max_new_tokens=15)] == [10, 15, 15]
    assert [len(one) for one in tokens(recognizer, min_length=16, max_length=16)] == [
        10,
        15,
        15,
    ]  # with the start token
    assert [len(one) for one in tokens(recognizer, min_new_tokens=15, max_length=10_000)] == [10, 25, 40]


def test_a_segment_tells_the_temperature_it_was_drawn_at(recognizer: Seq2SeqRecognizer) -> None:
    for given, told in (({}, 0.0), ({"do_sample": True}, 1.0), ({"temperature": 0.4}, 0.4)):
        [found] = recognizer.transcribe([Noise(4.0, 2)], Seq2SeqOptions(vad=False, **given))
        assert found.segments[0].temperature == told


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"top_p": 0.9}, "top_p=0.9 chooses among samples"),
        ({"do_sample": False, "temperature": 1.0}, "leave out temperature"),
        ({"penalty_alpha": 0.6}, "give top_k"),
        ({"n_beams": 4, "n_beam_groups": 3}, "n_beam_groups=3"),
        ({"min_length": 20, "max_length": 10}, "min_length=20"),
    ],
)
def test_options_that_make_no_sense_together_are_refused_before_anything_is_heard(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(OptionError, match=named):
        Seq2SeqOptions(**changes)
