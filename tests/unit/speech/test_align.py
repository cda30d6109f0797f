"""Texts found in frames that are made here: every sample carries the id that its frame is to emit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers
from torch import Tensor

from auricle.audio.features import Features
from auricle.errors import OptionError, TaskError
from auricle.pipelines.align import Aligner
from auricle.pipelines.align import align as align_recording
from auricle.speech.align import EDGE_S, LEAD_S, AlignOptions, CTCAligner
from auricle.speech.spelling import Speller
from auricle.text import CharacterTokenizer, SubwordTokenizer, Tokenizer
from auricle.text.spoken import spoken

PER_FRAME = 640
FRAME_S = PER_FRAME / 16000
LETTERS = ["<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
SUBWORDS = ["<pad>", "▁", "▁the", "▁go", "od", "g", "o", "d", "t", "h", "e", "r"]
NARROW = 1e-6  # sums of seconds in floating point


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
    """Emits the id that the first sample of each frame carries; 0.9 of the probability is its."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.longest = 0

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        self.longest = max(self.longest, features.values.shape[1])
        lengths = (features.lengths - 400) // PER_FRAME + 1
        ids = features.values[:, ::PER_FRAME][:, : int(lengths.max())].long()
        log_probs = torch.full((*ids.shape, self.vocab_size), 0.1 / (self.vocab_size - 1)).log()
        return log_probs.scatter(2, ids[..., None], float(np.log(0.9))), lengths


class Recording:
    name = "made here"

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = ids

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.ids), 100):
            yield np.repeat(np.array(self.ids[start : start + 100], np.float32), PER_FRAME)


def letters() -> CharacterTokenizer:
    return CharacterTokenizer({letter: id for id, letter in enumerate(LETTERS)})


def frames_of(text: str) -> list[int]:
    """One frame for each character, "_" for a blank."""
    return [0 if character == "_" else LETTERS.index("|" if character == " " else character) for character in text]


def align(ids: Sequence[int], text: str, tokenizer: Tokenizer | None = None, **options: Any) -> Any:
    tokenizer = tokenizer or letters()
    aligner = CTCAligner(ReadingEngine(tokenizer.vocab_size), PlainFeatures(), tokenizer, PER_FRAME)
    return aligner.align(Recording(ids), text, AlignOptions(**options))


def test_words_touch_without_a_pause_and_leave_it_out() -> None:
    found = align(frames_of("__go_od__ day__________so__"), "good day so").words

    assert [word.text for word in found] == ["good", "day", "so"]
    border = 10 * FRAME_S - LEAD_S
    first, last = (2 * FRAME_S - EDGE_S, border), (23 * FRAME_S - EDGE_S, 25 * FRAME_S + EDGE_S)
    expected = [*first, border, 13 * FRAME_S + EDGE_S, *last]
    assert [time for word in found for time in (word.start, word.end)] == pytest.approx(expected, abs=NARROW)


def test_confidence_is_the_geometric_mean_of_the_letters() -> None:
    (word,) = align(frames_of("_cxt_"), "cat").words

    other = 0.1 / (letters().vocab_size - 1)
    assert word.confidence == pytest.approx((0.9 * 0.9 * other) ** (1 / 3), rel=1e-5)


def test_the_written_form_stays_and_the_spoken_one_is_found() -> None:
    frames = frames_of("_it was _nine_te_en e_ighty four__ and five d_ol_lars ye_s_")

    found = align(frames, "It was 1984 — & $5: Yës!")

    assert found.text == "It was 1984 — & $5: Yës!"
    assert [word.text for word in found.words] == ["It", "was", "1984", "—", "&", "$5:", "Yës!"]
    assert not found.warnings
    starts = [word.start for word in found.words]
    at = "_it was _nine_te_en e_ighty four__ and five d_ol_lars ye_s_".index("and")
    assert found.words[4].start == pytest.approx(at * FRAME_S - LEAD_S, abs=NARROW)
    assert found.words[3].start == found.words[3].end == found.words[2].end
    assert starts == sorted(starts)


@pytest.mark.parametrize("language", ["English", "en-GB", "EN", "<|en|>"])
def test_a_language_may_be_written_in_any_way(language: str) -> None:
    options = AlignOptions(language)
    assert options.language.split("-")[0] == "en"
    assert "five" in spoken(["5"], options.language)[0]


def test_a_language_without_a_code_is_refused_and_a_code_that_whisper_lacks_is_not() -> None:
    assert AlignOptions("quc").language == "quc"
    for language, hint in (("englisch", "'english'"), ("", "expected a code"), (5, "expected a code")):
        with pytest.raises(OptionError, match=hint):
            AlignOptions(language)  # type: ignore[arg-type]


def test_a_text_of_signs_alone_is_refused_in_plain_words() -> None:
    with pytest.raises(OptionError, match="no word that is spoken"):
        align(frames_of("ab"), "... !!! —")


def test_characters_are_the_text_and_have_times_in_order() -> None:
    found = align(frames_of("_we_l_l known 'tis one_"), "Well-known 'tis 1!")

    (segment,) = found.segments
    assert "".join(character.text for character in segment.characters) == segment.text
    times = [time for character in segment.characters for time in (character.start, character.end)]
    assert times == sorted(times)
    hyphen = segment.characters[4]
    assert hyphen.text == "-"
    assert hyphen.start == hyphen.end


def test_segments_are_sentences_or_lines() -> None:
    frames = frames_of("_one two three four_")

    by_sentence = align(frames, "One two.\nThree\nfour.")
    by_line = align(frames, "One two.\nThree\nfour.", by="line")

    assert [segment.text for segment in by_sentence.segments] == ["One two.", "Three four."]
    assert [segment.text for segment in by_line.segments] == ["One two.", "Three", "four."]
    assert by_sentence.text == by_line.text == "One two. Three four."
    assert by_sentence.words == by_line.words


def test_words_that_are_not_said_are_told_and_share_the_time_between() -> None:
    frames = frames_of("_this is the beg_in_ning of it" + 40 * "_" + "and here it go_es on and on_")

    found = align(frames, "this is the beginning of it zebras quack and here it goes on and on")

    (warning,) = found.warnings
    assert warning.kind == "unaligned"
    assert "2 words were not found" in warning.message
    assert "zebras quack" in warning.message
    words = found.words
    assert (warning.start, warning.end) == (words[6].start, words[7].end)
    assert words[5].end == words[6].start < words[6].end == words[7].start < words[7].end == words[8].start
    assert words[6].confidence == words[7].confidence == 0.0
    assert all(word.confidence > 0.5 for place, word in enumerate(words) if place not in (6, 7))


def test_a_text_that_is_not_the_recordings_is_told() -> None:
    found = align(frames_of("_an entirely different sto_ry_"), "zebras quack loudly before midnight")

    assert found.warnings[0].message.startswith("only 0 of 5 words were found in the sound")
    assert found.warnings[1].message.startswith("5 words were not found")


def test_letters_that_the_vocabulary_lacks_are_named() -> None:
    found = align(frames_of("_good day_"), "good день day")

    (warning,) = found.warnings
    assert "cannot write" in warning.message
    assert found.words[1].confidence == 0.0
    with pytest.raises(OptionError, match="nothing of the text can be written"):
        align(frames_of("_good day_"), "день")


def test_an_upper_case_vocabulary_takes_any_case() -> None:
    upper = CharacterTokenizer(
        {letter.upper() if len(letter) == 1 else letter: id for id, letter in enumerate(LETTERS)}
    )

    found = align(frames_of("_stras_se_"), "Straße", upper)

    assert found.words[0].confidence == pytest.approx(0.9, rel=1e-5)


def subwords() -> SubwordTokenizer:
    vocabulary = {piece: id for id, piece in enumerate(SUBWORDS)}
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("o", "d"), ("▁", "g"), ("▁g", "o")]
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    backend = Backend(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return SubwordTokenizer(backend, {}, blank=0)


def test_subwords_are_found_and_share_their_time_among_letters() -> None:
    tokenizer = subwords()
    frames = [0, *tokenizer.encode("the"), 0, 0, *tokenizer.encode("good"), 0, *tokenizer.encode("other"), 0]

    found = align(frames, "The good other", tokenizer)

    assert all(word.confidence == pytest.approx(0.9, rel=1e-5) for word in found.words)
    assert found.words[1].start == pytest.approx(4 * FRAME_S - LEAD_S, abs=NARROW)
    assert [len(word.text) for word in found.words] == [3, 4, 5]
    assert len(found.segments[0].characters) == len("The good other")


def test_a_speller_strips_only_what_the_vocabulary_lacks() -> None:
    accented = CharacterTokenizer({letter: id for id, letter in enumerate([*LETTERS, "é"])})

    plain, with_accent = Speller(letters())("Café"), Speller(accented)("Café")

    assert plain is not None
    assert with_accent is not None
    assert (plain.text, with_accent.text) == ("cafe", "café")


def test_a_long_recording_is_aligned_window_by_window_without_drift() -> None:
    random = np.random.default_rng(0)
    words = ["".join(random.choice([*"abcdefghijklmnopqrstuvwxyz"], 5)) for _ in range(600)]
    at, pieces = [], []
    for word in words:
        pieces.append("_".join(word) + "  ")
        at.append(sum(map(len, pieces[-2:-1])) + (at[-1] if at else 0))
    frames = frames_of("".join(pieces))
    engine = ReadingEngine(letters().vocab_size)
    aligner = CTCAligner(engine, PlainFeatures(), letters(), PER_FRAME)

    found = aligner.align(Recording(frames), " ".join(words), AlignOptions())

    expected = [one * FRAME_S - LEAD_S for one in at]
    assert [word.start for word in found.words[1:]] == pytest.approx(expected[1:], abs=1e-4)
    assert engine.longest < 31 * 16000 < len(frames) * PER_FRAME / 8


def test_nothing_heard_leaves_every_word_unaligned() -> None:
    found = align([], "one two")

    assert [word.start for word in found.words] == [0.0, 0.0]
    assert {warning.kind for warning in found.warnings} == {"unaligned"}


def test_the_bundled_model_finds_synthesized_words(tmp_path: Path) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    silence, pieces, onsets = np.zeros(12_000, np.float32), [], []
    for word in ("morning", "table", "twenty three percent", "window"):
        path = tmp_path / "word.raw"
        with path.open("wb") as file:
            subprocess.run(["espeak-ng", "--stdout", word], check=True, stdout=file)
        from auricle.audio.decode import open_audio

        samples = open_audio(path, 16000).read()
        samples = samples[np.flatnonzero(np.abs(samples) > 0.02)[0] :]
        onsets.append((sum(map(len, pieces)) + len(silence)) / 16000)
        pieces += [silence, samples]

    found = align_recording({"array": np.concatenate(pieces), "sampling_rate": 16000}, "Morning table: 23% window!")

    assert [word.text for word in found.words] == ["Morning", "table:", "23%", "window!"]
    assert [word.start for word in found.words] == pytest.approx(onsets, abs=0.12)  # three frames of 40 ms
    assert not found.warnings


def test_a_text_that_is_no_string_is_refused() -> None:
    with pytest.raises(OptionError, match="text is a list"):
        Aligner()("x.wav", ["a"])


def test_a_model_that_is_no_ctc_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        kind, model_type = "seq2seq", "whisper"

    monkeypatch.setattr("auricle.pipelines.align.load", lambda *names, **settings: Loaded())

    with pytest.raises(TaskError, match="only CTC models align"):
        Aligner("openai/whisper-tiny")


def test_the_transcript_says_what_made_it_and_what_is_wrong_with_the_recording() -> None:
    loud = np.sign(np.sin(np.arange(16_000) / 20)).astype(np.float32)

    found = Aligner()({"array": loud, "sampling_rate": 16000}, "buzz", language="en", by="line")

    assert found.provenance is not None
    assert found.provenance.model == "bundled"
    assert found.provenance.options["by"] == "line"
    assert found.provenance.audio_sha256 is not None
    assert "clipped" in {warning.kind for warning in found.warnings}
