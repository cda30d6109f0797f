"""Recognition with a model that is made here: every sample carries the id that its frame is to emit."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding.compact_ngram import write_compact
from auricle.decoding.ctc import Hypothesis, Token, greedy
from auricle.engines.reference import ReferenceEngine
from auricle.errors import OptionError
from auricle.speech.ctc import CTCOptions, CTCRecognizer, cut_in_pause, group_by_length, make_segments
from auricle.text import CharacterTokenizer

ALPHABET = ["<pad>", "|", *"abcdefghijklmnopqrstuvwxyz"]
PER_FRAME = 320
SECONDS = PER_FRAME / 16000
SURE = 0.9  # probability that the made model gives its letters


class PlainFeatures:
    """Hands the samples on, padded."""

    sample_rate = 16000

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PlainFeatures:
        return cls()

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        values = torch.zeros(len(waveforms), int(lengths.max()))
        for row, waveform in zip(values, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(waveform.copy())
        return Features(values, lengths)


class ReadingEngine:
    """Emits the id that the first sample of each frame carries, as a convolutional front end would see it."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.longest = 0

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        self.batches.append(len(features.values))
        self.longest = max(self.longest, features.values.shape[1])
        lengths = (features.lengths - 400) // PER_FRAME + 1
        ids = features.values[:, ::PER_FRAME][:, : int(lengths.max())].long()
        log_probs = torch.full((*ids.shape, len(ALPHABET)), (1 - SURE) / (len(ALPHABET) - 1)).log()
        return log_probs.scatter(2, ids[..., None], float(np.log(SURE))), lengths


class Recording:
    """A recording whose frames carry ids."""

    sample_rate = 16000
    duration = None
    name = "made"

    def __init__(self, ids: Sequence[int], block: int = 50_000) -> None:
        self.ids = ids
        self.block = block

    def blocks(self) -> Iterator[np.ndarray]:
        tail = np.zeros(80, dtype=np.float32)  # the last frame's view reaches past its 320 samples
        samples = np.append(np.repeat(np.array(self.ids, dtype=np.float32), PER_FRAME), tail)
        for start in range(0, len(samples), self.block):
            yield samples[start : start + self.block]


def recognizer() -> CTCRecognizer:
    tokenizer = CharacterTokenizer({token: id for id, token in enumerate(ALPHABET)})
    return CTCRecognizer(ReadingEngine(), PlainFeatures(), tokenizer, PER_FRAME)


def frames_of(text: str, pause: dict[int, int] | None = None) -> list[int]:
    """A frame for each letter with a blank after it; `pause` adds blanks after a letter."""
    ids: list[int] = []
    for place, letter in enumerate(text):
        ids += [ALPHABET.index("|" if letter == " " else letter), 0]
        ids += [0] * (pause or {}).get(place, 0)
    return ids


def babble(n_frames: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    ids: list[int] = []
    while len(ids) < n_frames:
        for _ in range(rng.randint(1, 9)):
            ids += [rng.randint(2, 27)] * rng.randint(1, 3) + [0] * rng.randint(0, 4)
        ids += [1] * rng.randint(1, 2) + [0] * rng.choice([0, 3, 10, 40])
    return ids[:n_frames]


def text_of(ids: Sequence[int]) -> str:
    return "".join(ALPHABET[id].replace("|", " ") for id, _ in itertools.groupby(ids) if id).strip()


def test_text_words_and_characters_come_with_times_and_confidence() -> None:
    transcript = recognizer().transcribe([Recording(frames_of("so it is"))], CTCOptions(vad=False))[0]
    assert transcript.text == "so it is"
    assert [(word.text, word.start, word.end) for word in transcript.words] == [
        ("so", 0.0, pytest.approx(3 * SECONDS)),
        ("it", pytest.approx(6 * SECONDS), pytest.approx(9 * SECONDS)),
        ("is", pytest.approx(12 * SECONDS), pytest.approx(15 * SECONDS)),
    ]
    assert all(word.confidence == pytest.approx(SURE) for word in transcript.words)
    (segment,) = transcript.segments
    assert segment.text == transcript.text
    assert "".join(character.text for character in segment.characters) == transcript.text
    assert [character.start for character in segment.characters] == pytest.approx([2 * n * SECONDS for n in range(8)])
    assert transcript.duration == pytest.approx(16 * SECONDS + 80 / 16000)
    assert transcript.warnings == ()


@pytest.mark.parametrize("n_frames", [1, 300, 1999, 2000, 2001, 7001])
@pytest.mark.parametrize(
    "options",
    [CTCOptions(vad=False), CTCOptions(chunk_length_s=5), CTCOptions(chunk_length_s=1, stride_length_s=(0.1, 0.3))],
)
def test_windows_do_not_change_the_text(n_frames: int, options: CTCOptions) -> None:
    ids = babble(n_frames, seed=n_frames)
    transcript = recognizer().transcribe([Recording(ids)], options)[0]
    assert transcript.text == text_of(ids)
    assert "".join(one.text for part in transcript.segments for one in part.characters) == transcript.text


@pytest.mark.parametrize("batch_size", [None, 1, 2, 16])
def test_batches_equal_singles(batch_size: int | None) -> None:
    recordings = [babble(n, seed=n) for n in (40, 5000, 0, 700, 2500)]
    singles = [recognizer().transcribe([Recording(ids)], CTCOptions(vad=False))[0] for ids in recordings]
    batched = recognizer().transcribe(
        [Recording(ids, block=7777) for ids in recordings],
        CTCOptions(vad=False, batch_size=batch_size),
    )
    assert batched == singles


def test_windows_of_several_recordings_share_a_batch() -> None:
    one = recognizer()
    one.transcribe([Recording(babble(n, seed=n)) for n in (50, 60, 70)], CTCOptions(vad=False, batch_size=2))
    assert one.engine.batches == [2, 1]


def test_windows_of_unequal_length_share_no_batch() -> None:
    second = 16_000
    lengths = [seconds * second for seconds in (3, 20, 4, 19, 3, 1)]
    assert group_by_length(lengths, 3, second) == [[5], [0, 4, 2], [3, 1]]
    assert group_by_length(lengths, 1, second) == [[5], [0], [4], [2], [3], [1]]
    assert group_by_length([], 3, second) == []


def test_beams_read_the_same_as_greedy_where_the_model_is_sure() -> None:
    ids = babble(4000, seed=3)
    best_path, beams = (
        recognizer().transcribe([Recording(ids)], CTCOptions(vad=False, beam_width=width))[0] for width in (1, 4)
    )
    assert beams.text == best_path.text
    assert [(word.start, word.end) for word in beams.words] == [(word.start, word.end) for word in best_path.words]


def test_segments_end_at_pauses() -> None:
    ids = frames_of("so it is", pause={1: 40, 4: 20})
    transcript = recognizer().transcribe([Recording(ids)], CTCOptions(vad=False))[0]
    assert [segment.text for segment in transcript.segments] == ["so", "it is"]
    assert "".join(one.text for part in transcript.segments for one in part.characters) == "so it is"
    assert transcript.segments[0].end == pytest.approx(3 * SECONDS)
    assert transcript.segments[1].start == pytest.approx(46 * SECONDS)
    assert transcript.text == "so it is"


def test_long_segments_are_divided_at_their_widest_gap() -> None:
    ids = frames_of("ab " * 400, pause={602: 10})  # 48 s in one breath, with a small gap after word 200
    transcript = recognizer().transcribe([Recording(ids)], CTCOptions(vad=False))[0]
    assert [len(segment.words) for segment in transcript.segments] == [201, 199]
    assert all(segment.end - segment.start <= 30 for segment in transcript.segments if segment.end)


def test_times_do_not_pass_the_end_of_the_recording() -> None:
    tokenizer = CharacterTokenizer({token: id for id, token in enumerate(ALPHABET)})
    (segment,) = make_segments([Token(2, 0, 4, 1.0), Token(3, 4, 9, 0.5)], tokenizer, 12.5, duration=0.5)
    assert (segment.start, segment.end, segment.words[0].confidence) == (0.0, 0.5, 0.75)
    assert all(character.end <= 0.5 for character in segment.characters)


def test_silence_gives_no_text_and_says_so() -> None:
    transcript = recognizer().transcribe([Recording([0] * 100)], CTCOptions(vad=False))[0]
    assert transcript.text == ""
    assert transcript.segments == ()
    assert [warning.kind for warning in transcript.warnings] == ["no_speech"]


def test_less_than_a_frame_gives_no_text_and_says_so() -> None:
    for ids in ([], [5]):
        recording = Recording(ids, block=300)
        if ids:
            recording.blocks = lambda: iter([np.full(399, 5, dtype=np.float32)])
        transcript = recognizer().transcribe([recording], CTCOptions(vad=False))[0]
        assert transcript.text == ""
        assert [warning.kind for warning in transcript.warnings] == ["too_short"]


def test_no_recordings_give_no_transcripts() -> None:
    assert recognizer().transcribe([], CTCOptions(vad=False)) == []


def test_progress_counts_every_second_once() -> None:
    seen: list[float] = []
    recordings = [Recording(babble(n, seed=n)) for n in (3000, 50, 2500)]
    transcripts = recognizer().transcribe(recordings, CTCOptions(vad=False, batch_size=2), seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == pytest.approx(sum(transcript.duration or 0 for transcript in transcripts))


def test_memory_does_not_grow_with_the_recording() -> None:
    class Silence(Recording):
        def blocks(self) -> Iterator[np.ndarray]:
            for _ in range(len(self.ids)):
                yield np.zeros(16000, dtype=np.float32)

    peaks = []
    for n_seconds in (120, 1200):
        one = recognizer()
        tracemalloc.start()
        one.transcribe([Silence([0] * n_seconds)], CTCOptions(vad=False))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert one.engine.longest == 30 * 16000
    assert peaks[1] < 1.2 * peaks[0]


def test_frames_do_not_wait_longer_than_a_minute_and_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def noting(log_probs: Tensor, blank: int) -> Hypothesis:
        decoded.append(len(log_probs))
        return greedy(log_probs, blank)

    monkeypatch.setattr("auricle.speech.ctc.greedy", noting)
    recognizer().transcribe([Recording(babble(20_000, seed=1))], CTCOptions(vad=False))
    assert sum(decoded) == 20_000
    assert max(decoded) <= (60 + 30) * 50


def test_threads_with_hot_words_of_their_own_do_not_meet() -> None:
    one, words = recognizer(), ["cat", "dog", "cow", "hen"]

    def hear(word: str) -> str:
        return one.transcribe([Recording(frames_of(word))], CTCOptions(hotwords=[word], beam_width=2))[0].text

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(hear, words * 25)) == words * 25


def test_hot_words_and_language_models_are_used(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(
        "\\data\\\nngram 1=4\n\n\\1-grams:\n-9 <unk>\n-9 <s>\n-1 </s>\n-1 cat\n\n\\end\\\n", encoding="utf-8"
    )
    one = recognizer()
    recording = Recording(frames_of("kat"))
    for options in (
        CTCOptions(vad=False, lm=path, alpha=2.0),
        CTCOptions(vad=False, hotwords=["cat"], hotword_weight=21.0),
    ):
        assert one.transcribe([recording], options)[0].text == "cat"
    assert one.transcribe([recording], CTCOptions(vad=False))[0].text == "kat"


def test_a_language_model_is_read_once_for_many_calls(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-1 <unk>\n\n\\end\\\n", encoding="utf-8")
    one, options = recognizer(), CTCOptions(lm=path)
    one.transcribe([Recording([2])], options)
    path.unlink()
    one.transcribe([Recording([2])], options)


def test_the_reference_engine_searches_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(ReadingEngine, ReferenceEngine):  # type: ignore[misc]
        pass

    write_compact({("cat",): (-1.0, 0.0)}, tmp_path / "lm.safetensors")
    asked: list[object] = []
    monkeypatch.setattr("auricle.speech.ctc.native_search", lambda *given: asked.append(given))
    for engine, times in ((Plain(), 0), (ReadingEngine(), 1)):
        one = recognizer()
        one.engine = engine
        one.transcribe([Recording([2])], CTCOptions(lm=tmp_path / "lm.safetensors"))
        assert len(asked) == times


def test_a_model_that_gives_no_numbers_is_an_error_not_a_text() -> None:
    class Overflowing(ReadingEngine):
        def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
            log_probs, lengths = super().ctc(features)
            log_probs[0, 3, 4] = float("nan")
            return log_probs, lengths

    one = recognizer()
    one.engine = Overflowing()
    with pytest.raises(OptionError, match=r"no numbers for made.*dtype='float32'"):
        one.transcribe([Recording(babble(20, seed=1))], CTCOptions(vad=False))


def test_cuts_fall_into_the_longest_blank_of_the_second_half() -> None:
    ids = [0] * 10 + [2, 0, 3, 3, 0, 0, 0, 0, 2, 0]
    log_probs = torch.nn.functional.one_hot(torch.tensor(ids), 4).float()
    assert cut_in_pause(log_probs, blank=0) == 16
    assert cut_in_pause(torch.nn.functional.one_hot(torch.tensor([2, 2, 2, 3, 3, 3]), 4).float(), 0) == 3
    assert cut_in_pause(torch.nn.functional.one_hot(torch.tensor([2, 2, 2, 3, 3, 2]), 4).float(), 0) == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chunk_length_s": -1}, "chunk_length_s=-1"),
        ({"stride_length_s": (1, 2, 3)}, r"stride_length_s=\(1, 2, 3\)"),
        ({"stride_length_s": -2.0}, r"stride_length_s=-2\.0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"beam_width": 2.5}, "beam_width=2.5"),
        ({"beam_width": 10**9}, "beam_width=1000000000; expected at most 10000"),
        ({"hotwords": "cat"}, "expected a list of strings"),
        ({"hotwords": [1]}, "expected a list of strings"),
        ({"beam_width": 1, "hotwords": ["cat"]}, "greedy"),
        ({"alpha": 0.7}, "alpha=0.7 has no effect without lm"),
        ({"hotword_weight": 2.0}, "has no effect without hotwords"),
        ({"chunk_length_s": "10"}, "^chunk_length_s='10'; expected a finite number$"),
        ({"alpha": "big", "lm": "x"}, "alpha='big'"),
        ({"lm": "no/such.arpa"}, "lm='no/such.arpa' is no file"),
        ({"lm": 3}, "lm=3 is no file"),
        ({"beam_width": True}, "beam_width=True"),
    ],
)
def test_options_that_cannot_work_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CTCOptions(**given)


def test_strides_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(OptionError, match="leaves nothing"):
        recognizer().transcribe([Recording([2])], CTCOptions(chunk_length_s=2, stride_length_s=1))


def test_the_checkpoint_s_own_language_model_is_used_unless_it_is_switched_off(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(
        "\\data\\\nngram 1=4\n\n\\1-grams:\n-9 <unk>\n-9 <s>\n-1 </s>\n-1 cat\n\n\\end\\\n", encoding="utf-8"
    )
    own: dict[str, Any] = {"vad": False, "own_lm": str(path), "own_weights": (2.0, 1.0, -9.0)}
    recording = Recording(frames_of("kat"))
    for given, text in (({}, "cat"), ({"lm": False}, "kat"), ({"beam_width": 1}, "kat"), ({"alpha": 1.5}, "cat")):
        assert recognizer().transcribe([recording], CTCOptions(**own, **given))[0].text == text, given
    assert CTCOptions(**own).weights == (2.0, 1.0, -9.0)
    # One that the caller gives has its own weights.
    assert CTCOptions(**own, lm=path).weights == (0.5, 1.5, -10.0)
    with pytest.raises(OptionError, match=r"alpha=1\.0 has no effect without lm"):
        CTCOptions(**own, lm=False, alpha=1.0)
