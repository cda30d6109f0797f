"""Streams through pipelines: what is refused at once, and what real models come to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle import pipeline
from auricle.audio.decode import load_audio
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.engines import make_engine
from auricle.errors import AudioError, OptionError
from auricle.evaluation.wer import character_errors
from auricle.models.whisper import Whisper
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER
from auricle.results import Segment, Transcript, Word
from auricle.speech.ctc_options import CTCOptions
from auricle.speech.streaming import StreamUpdate
from auricle.speech.whisper import WhisperRecognizer

RATE = 16000
SAMPLE = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"
# Characters of the bundled model that differ between a stream, which hears a part at a time, and the whole.
CLOSE = 0.1


class Counting:
    """Hears a word in every whole second, wherever the sound begins, and notes its options."""

    def __init__(self) -> None:
        self.options: list[Any] = []
        self.n_samples: list[int] = []

    def transcribe(self, audios: Any, options: Any) -> list[Transcript]:
        samples = audios[0].read()
        self.options.append(options)
        self.n_samples.append(len(samples))
        words = tuple(Word(f"w{n}", n + 0.2, n + 0.8, 0.9) for n in range(len(samples) // RATE))
        text = " ".join(word.text for word in words)
        return [Transcript(text, (Segment(text, 0.0, len(samples) / RATE, words),))]


def fake(dialect: Any = CTC, **defaults: Any) -> Any:
    return AutomaticSpeechRecognitionPipeline(Counting(), dialect, sample_rate=RATE, **defaults)  # type: ignore[arg-type]


def unread() -> Iterator[np.ndarray]:
    raise AssertionError("the source was read")
    yield


@pytest.mark.parametrize(
    ("dialect", "parameters", "message"),
    [
        (CTC, {"return_timestamps": "word"}, "return_timestamps='word' is refused in a stream"),
        (WHISPER, {"return_language": True}, "return_language=True is refused in a stream"),
        (CTC, {"batch_size": 2}, "batch_size=2 is refused in a stream"),
        (CTC, {"channels": "split"}, "channels='split' is refused in a stream"),
        (CTC, {"chunk_length_s": 10.0}, "chunk_length_s=10.0 is refused in a stream"),
        (WHISPER, {"prefix": "So"}, "prefix='So' is refused in a stream"),
        (WHISPER, {"generate_kwargs": {"prefix": "So"}}, "prefix='So' is refused in a stream"),
        (WHISPER, {"schedule": "batched"}, "schedule='batched' is refused in a stream"),
        (CTC, {"language": "en"}, "language='en' is refused by a CTC model"),
        (CTC, {"hotword": "x"}, "unknown parameter 'hotword'"),
        (SEQ2SEQ, {}, "a stream needs words with times, which"),
        (CTC, {"latency": 0.01}, "latency=0.01; expected a number from 0.1 to 5"),
        (CTC, {"raw": True}, "raw=True needs sampling_rate"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name_before_anything_is_read(
    dialect: Any, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        fake(dialect).stream(unread(), **parameters)


def test_options_about_voice_are_the_stream_s_and_the_recognizer_decodes_what_it_gets() -> None:
    pipe = fake()
    list(pipe.stream(np.ones(5 * RATE, np.float32), vad=False, num_beams=4))
    assert set(pipe.recognizer.options) == {CTCOptions(vad=False, beam_width=4, batch_size=1)}
    silent = fake()
    assert list(silent.stream(np.zeros(5 * RATE, np.float32), vad_threshold=0.4, min_silence_s=0.5)) == []
    assert silent.recognizer.options == []
    with pytest.raises(OptionError, match="vad_threshold"):
        pipe.stream(np.zeros(RATE), vad=False, vad_threshold=0.4)


def test_a_recording_is_decoded_as_often_as_if_it_were_live() -> None:
    for source in (np.ones(4 * RATE, np.float32), [np.ones(3 * RATE), np.ones(RATE)], [np.ones(400)] * 160):
        pipe = fake()
        *_, last = pipe.stream(source, latency=1.0, vad=False)
        assert pipe.recognizer.n_samples == [RATE, 2 * RATE, 3 * RATE, 4 * RATE]
        assert last.text == "w0 w1 w2 w3"
        assert last.ends_utterance


def test_times_asked_for_when_the_pipeline_was_made_do_not_matter() -> None:
    *_, last = fake(return_timestamps="char").stream(np.ones(2 * RATE, np.float32), vad=False)
    assert last.text == "w0 w1"


@pytest.mark.parametrize("error", [KeyboardInterrupt, AudioError])
def test_what_was_heard_before_ctrl_c_is_final_and_a_broken_source_raises(error: type[BaseException]) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield np.ones(round(2.5 * RATE), np.float32)
        raise error("now")

    updates: list[StreamUpdate] = []
    with pytest.raises(error, match="now"):
        updates.extend(fake().stream(interrupted(), vad=False))
    if error is KeyboardInterrupt:
        # extend() keeps what came before the error.
        assert updates[-1].final_text == "w0 w1"


@pytest.fixture(scope="module")
def bundled() -> Any:
    return pipeline("automatic-speech-recognition", "bundled")


def test_a_stream_comes_close_to_what_the_whole_recording_comes_to(bundled: Any) -> None:
    whole = bundled(SAMPLE)["text"]
    updates = list(bundled.stream(SAMPLE))
    assert character_errors([whole], [updates[-1].text]).rate <= CLOSE
    for before, after in pairwise(updates):
        assert after.text.startswith(before.final_text)
    final = [word for update in updates for word in update.final]
    assert all(before.end <= after.start for before, after in pairwise(final))
    assert all(0.0 <= word.start <= word.end <= 7.9 for word in final)


def test_silence_before_and_after_speech_gives_no_words_and_is_not_decoded(
    bundled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = load_audio(SAMPLE)
    quiet = (np.random.default_rng(0).standard_normal(10 * RATE) * 1e-4).astype(np.float32)
    whole = bundled(samples)["text"]
    heard = []
    transcribe = bundled.recognizer.transcribe
    monkeypatch.setattr(
        bundled.recognizer, "transcribe", lambda audios, options: heard.append(1) or transcribe(audios, options)
    )
    updates = list(bundled.stream(np.concatenate([quiet, samples, quiet]), latency=2.0))
    assert character_errors([whole], [updates[-1].text]).rate <= CLOSE
    seconds = len(samples) / RATE
    for word in (word for update in updates for word in update.final):
        assert 10.0 <= word.start <= word.end <= 10.0 + seconds
    # Every other second of speech, the end of each utterance, and nothing in 20 s of silence.
    assert len(heard) <= seconds / 2 + 3


# Whisper with random weights over bytes


EOS, START, EN, DE, TRANSLATE, TRANSCRIBE, START_OF_LM, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = range(256, 266)
NAMES = {
    "<|endoftext|>": EOS, "<|startoftranscript|>": START, "<|en|>": EN, "<|de|>": DE, "<|translate|>": TRANSLATE,
    "<|transcribe|>": TRANSCRIBE, "<|startoflm|>": START_OF_LM, "<|startofprev|>": PREVIOUS,
    "<|nospeech|>": NO_SPEECH, "<|notimestamps|>": NO_TIMESTAMPS,
}  # fmt: skip


class ByteTokenizer:
    """One token per byte, and Whisper's special tokens."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Any) -> str:
        return bytes(id for id in ids if id < 256).decode(errors="replace")

    def special(self, token: str) -> int:
        return NAMES[token]

    def has_special(self, token: str) -> bool:
        return token in NAMES


@pytest.fixture(scope="module")
def whisper() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 266 + 1501, "max_source_positions": 1500, "max_target_positions": 64}
    tokens = {"decoder_start_token_id": START, "bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": EOS}
    model = Whisper(Whisper.tiny(**sizes, **tokens)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and "encoder.embed_positions" not in name:
                weight.copy_(torch.randn(weight.shape) * 0.3)
    # Only letters and spaces, so that what it says has words.
    letters = {32, *b"etaoinsh"}
    generation = {
        "lang_to_id": {"<|en|>": EN, "<|de|>": DE},
        "is_multilingual": True,
        "suppress_tokens": [token for token in range(256) if token not in letters],
    }
    recognizer = WhisperRecognizer(
        make_engine(model), WhisperFeatures(model.config.num_mel_bins), ByteTokenizer(), model.config, generation
    )
    return AutomaticSpeechRecognitionPipeline(recognizer, WHISPER, sample_rate=RATE)


def test_whisper_streams_words_whose_text_brings_its_spaces(whisper: Any) -> None:
    samples = load_audio(SAMPLE)[: 5 * RATE]
    thresholds = {"compression_ratio_threshold": None, "logprob_threshold": None, "no_speech_threshold": None}
    stream = whisper.stream(samples, latency=2.0, vad=False, temperature=0.0, without_timestamps=False, **thresholds)
    updates = list(stream)
    final = [word for update in updates for word in update.final]
    assert len(final) >= 3
    assert updates[-1].text == "".join(word.text for word in final).lstrip()
    assert all(before.end <= after.start for before, after in pairwise(final))
    assert all(0.0 <= word.start <= word.end <= 5.0 for word in final)
    for before, after in pairwise(updates):
        assert after.text.startswith(before.final_text)


@pytest.mark.parametrize(("given", "expected"), [({}, True), ({"without_timestamps": False}, False)])
def test_whisper_writes_no_timestamps_in_a_stream_unless_told_to(
    whisper: Any, monkeypatch: pytest.MonkeyPatch, given: dict[str, bool], expected: bool
) -> None:
    asked = []
    monkeypatch.setattr(
        whisper.recognizer, "transcribe", lambda audios, options: asked.append(options) or [Transcript("")]
    )
    list(whisper.stream(np.zeros(2 * RATE, np.float32), latency=1.0, vad=False, **given))
    assert {options.without_timestamps for options in asked} == {expected}


def test_a_pipelines_own_choice_of_timestamps_stands_in_its_streams(
    whisper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(whisper, "defaults", {"without_timestamps": False})
    monkeypatch.setattr(
        whisper.recognizer, "transcribe", lambda audios, options: asked.append(options) or [Transcript("")]
    )
    list(whisper.stream(np.zeros(2 * RATE, np.float32), latency=1.0, vad=False))
    assert {options.without_timestamps for options in asked} == {False}
