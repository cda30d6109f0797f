"""Moonshine's loop: cuts at quiet places, limits of tokens, the guard against repetition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.waveform import WaveformFeatures
from auricle.engines import make_engine
from auricle.errors import ConfigError, OptionError
from auricle.models.moonshine import Moonshine
from auricle.speech.seq2seq import Seq2SeqOptions, Seq2SeqRecognizer
from auricle.speech.stretches import quietest

pytestmark = pytest.mark.usefixtures("every_engine")

RATE = 16_000


class Sound:
    """A recording given in blocks."""

    def __init__(self, samples: np.ndarray, block: int = 50_000) -> None:
        self.samples, self.block = samples.astype(np.float32), block

    def blocks(self) -> Iterator[np.ndarray]:
        for begin in range(0, len(self.samples), self.block):
            yield self.samples[begin : begin + self.block]


class Letters:
    """Ids 0-2 are special; the others are letters."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + (id - 3) % 26) for id in ids if id > 2)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=round(seconds * RATE)) * 0.1


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


def test_a_cut_lies_in_the_middle_of_the_quiet() -> None:
    samples = noise(31.0)
    samples[25 * RATE : 25 * RATE + RATE // 2] *= 0.01
    cut = quietest(samples, 30 * RATE, RATE)
    assert 25 * RATE <= cut <= 25 * RATE + RATE // 2


def test_of_equally_quiet_places_the_last_one_is_cut() -> None:
    assert quietest(np.zeros(31 * RATE), 30 * RATE, RATE) >= 29.8 * RATE


def test_stretches_cover_the_recording_without_gap_or_overlap(recognizer: Seq2SeqRecognizer) -> None:
    samples = noise(75.0)
    for second in (22, 47, 70):
        samples[second * RATE : second * RATE + 4000] = 0.0
    options = Seq2SeqOptions(vad=False, compression_ratio_threshold=None)
    [found] = recognizer.transcribe([Sound(samples)], options)
    spans = [(segment.start, segment.end) for segment in found.segments]
    assert spans[0][0] == 0.0
    assert spans[-1][1] == found.duration == 75.0
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert [round(end) for _, end in spans] == [22, 47, 75]


def test_recordings_decoded_together_come_to_what_they_come_to_alone(recognizer: Seq2SeqRecognizer) -> None:
    sounds = [Sound(noise(seconds, index)) for index, seconds in enumerate((0.03, 2.0, 35.0, 7.5))]
    searches: list[dict[str, Any]] = [{}, {"n_beams": 3}, {"temperature": 0.7, "best_of": 2}]
    for options in (Seq2SeqOptions(vad=False, **search) for search in searches):
        together = recognizer.transcribe(sounds, options)
        alone = [recognizer.transcribe([sound], options)[0] for sound in sounds]
        assert [one.text for one in together] == [one.text for one in alone]
        assert any(len(one.text) > 20 for one in together)
        assert [one.warnings for one in together] == [one.warnings for one in alone]


def test_no_stretch_has_more_seconds_than_the_decoder_has_tokens(recognizer: Seq2SeqRecognizer) -> None:
    assert recognizer.most_tokens == 193
    [found] = recognizer.transcribe([Sound(np.zeros(40 * RATE))], Seq2SeqOptions(vad=False))
    assert all(segment.end - segment.start <= 193 / 6.5 for segment in found.segments if segment.end)


def stuck(config: Any, loop: list[int]) -> Seq2SeqRecognizer:
    """A recognizer whose decoder goes round in a loop, as far as it may."""

    class LoopStep:
        n_rows, length, max_length = 1, 0, 194

        def advance(self, tokens: torch.Tensor, n_last: int = 1) -> torch.Tensor:
            self.length += tokens.shape[1]
            logits = torch.arange(40.0).flip(0).repeat(1, 1, 1) / 10 - 9  # the lower, the better
            logits[0, 0, :3] = -20.0
            logits[0, 0, loop[(self.length - 1) % len(loop)]] = 5.0
            return logits

        def reorder(self, rows: torch.Tensor) -> None:
            raise AssertionError("one greedy row is never reordered")

    engine = SimpleNamespace(
        encode=lambda features: (features.values, features.lengths), decoder=lambda states, lengths, _: LoopStep()
    )
    features = WaveformFeatures.from_config({"do_normalize": False})
    return Seq2SeqRecognizer(engine, features, Letters(), config, {})


def test_a_loop_is_decoded_again_without_repeating_itself() -> None:
    config = Moonshine.tiny(max_position_embeddings=194)
    sound = Sound(noise(20.0))
    [looping] = stuck(config, [3, 4, 5]).transcribe([sound], Seq2SeqOptions(compression_ratio_threshold=None))
    assert looping.text.startswith("abcabcabc")
    [found] = stuck(config, [3, 4, 5]).transcribe([sound], Seq2SeqOptions(vad=False))
    ids = found.segments[0].tokens
    triples = list(zip(ids, ids[1:], ids[2:], strict=False))
    assert len(set(triples)) == len(triples)


def test_tokens_are_limited_by_the_seconds_of_sound() -> None:
    endless = stuck(Moonshine.tiny(max_position_embeddings=194), [3, 4, 5])
    for seconds, rate, most in ((2.0, 6.5, 13), (2.0, 13.0, 26), (0.1, 6.5, 1)):
        options = Seq2SeqOptions(tokens_per_second=rate, compression_ratio_threshold=None)
        [found] = endless.transcribe([Sound(noise(seconds))], options)
        assert len(found.segments[0].tokens) == most
    [found] = endless.transcribe([Sound(noise(5.0))], Seq2SeqOptions(max_new_tokens=4))
    assert len(found.segments[0].tokens) == 4
    assert ("truncated", 0.0, 5.0) in [(one.kind, one.start, one.end) for one in found.warnings]


def test_an_empty_recording_has_no_text(recognizer: Seq2SeqRecognizer) -> None:
    [found] = recognizer.transcribe([Sound(np.zeros(0))])
    assert (found.text, found.segments, found.duration) == ("", (), 0.0)
    assert recognizer.transcribe([]) == []


def test_progress_ends_at_the_seconds_of_all_recordings(recognizer: Seq2SeqRecognizer) -> None:
    heard: list[float] = []
    recognizer.transcribe([Sound(noise(2.0)), Sound(noise(3.0))], progress=heard.append)
    assert heard == [5.0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"return_timestamps": "word"}, "return_timestamps='word'"),
        ({"return_timestamps": "char"}, "return_timestamps='char'"),
        ({"chunk_length_s": 60.0}, "chunk_length_s"),
        ({"tokens_per_second": 0.0}, "tokens_per_second"),
        ({"compression_ratio_threshold": -1.0}, "compression_ratio_threshold"),
        ({"n_beams": 0}, "n_beams"),
        ({"best_of": 3}, "temperature"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        Seq2SeqOptions(**changes)


def test_an_end_token_that_the_settings_of_generation_leave_open_is_the_config_s() -> None:
    config = SimpleNamespace(decoder_start_token_id=1, eos_token_id=7, max_position_embeddings=100)
    parts: Any = (SimpleNamespace(), SimpleNamespace(), Letters(), config)
    assert Seq2SeqRecognizer(*parts, {"eos_token_id": None}).eos == 7


def test_a_checkpoint_without_an_end_token_is_refused() -> None:
    config = SimpleNamespace(decoder_start_token_id=1, eos_token_id=None, max_position_embeddings=100)
    with pytest.raises(ConfigError, match="eos_token_id"):
        Seq2SeqRecognizer(SimpleNamespace(), SimpleNamespace(), Letters(), config, {})  # type: ignore[arg-type]
