"""Marks and capitals: what is written changes, and what was heard does not."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import CheckpointError, ConfigError, OptionError
from auricle.loading_punctuation import WORDS, load_punctuation
from auricle.models.punctuation import MARKS, PunctuationConfig, PunctuationTagger, features_of, pause_of
from auricle.results import Character, Segment, Transcript, Word
from auricle.speech.punctuation import CONTEXT, WINDOW, Punctuator, Written, check_unwritten

KNOWN = ["the", "house", "holmes", "said", "i", "o'brien", "o'clock", "it's"]


def tiny(seed: int = 0) -> Punctuator:
    torch.manual_seed(seed)
    config = PunctuationConfig(len(KNOWN) + 2, word_size=8, n_affixes=16, affix_size=4, pause_size=4, hidden_size=8)
    tagger = PunctuationTagger(config).eval()
    # Biases of a trained network: marks and capitals are rare, and still some there are.
    with torch.no_grad():
        tagger.marks.weight *= 6
        tagger.capital.weight *= 6
    return Punctuator(tagger, KNOWN)


class Scripted(Punctuator):
    """Writes what it is told to."""

    def __init__(self, written: list[Written]) -> None:
        super().__init__(tiny().tagger, KNOWN)
        self.script = written
        self.pauses: list[float | None] = []

    def written(self, words, pauses):  # type: ignore[no-untyped-def]
        self.pauses = list(pauses)
        return self.script


def transcript(*texts: str, upper: bool = False) -> Transcript:
    """A segment for each text; every word takes 0.4 s and a tenth of a second follows it."""
    segments, at = [], 0.0
    for number, text in enumerate(texts):
        words, letters = [], [Character(" ", at, at)] if number else []
        for place, word in enumerate(text.split()):
            written = word.upper() if upper else word
            if place:
                letters.append(Character(" ", at, at))
            words.append(Word(written, at, at + 0.4, 0.9))
            share = 0.4 / len(word)
            letters += [Character(one, at + n * share, at + (n + 1) * share) for n, one in enumerate(written)]
            at += 0.5
        shown = text.upper() if upper else text
        segments.append(Segment(shown, words[0].start, words[-1].end, tuple(words), tuple(letters), 0.9))
    return Transcript(" ".join(one.text for one in segments), tuple(segments), duration=at)


def test_marks_and_capitals_are_in_text_segments_words_and_characters() -> None:
    punctuator = Scripted(
        [Written("", True), Written(",", False), Written("", False), Written(".", True), Written("?", True)]
    )
    found = punctuator(transcript("well then said holmes", "no"))
    assert found.text == "Well then, said Holmes. No?"
    assert [one.text for one in found.segments] == ["Well then, said Holmes.", "No?"]
    assert [one.text for one in found.words] == ["Well", "then,", "said", "Holmes.", "No?"]
    assert "".join(one.text for segment in found.segments for one in segment.characters) == found.text
    comma = next(one for one in found.segments[0].characters if one.text == ",")
    assert comma.start == comma.end == found.words[1].end
    assert punctuator.pauses == [pytest.approx(0.1)] * 4 + [None]


def test_nothing_but_case_and_marks_changes() -> None:
    before = transcript("the house it's said", "holmes i the house the i", "said the house")
    found = tiny()(before)
    assert found.text != before.text
    assert "".join(letter for letter in found.text.lower() if letter not in ",.?") == before.text
    for one, other in zip(found.words, before.words, strict=True):
        assert replace(one, text=other.text) == other
        assert one.text.lower().rstrip(",.?") == other.text
    assert [(one.start, one.end) for one in found.segments] == [(one.start, one.end) for one in before.segments]
    kept = [one for segment in found.segments for one in segment.characters if one.text not in ",.?"]
    heard = [one for segment in before.segments for one in segment.characters]
    assert [(one.text.lower(), one.start, one.end) for one in kept] == [(c.text, c.start, c.end) for c in heard]


def test_text_in_capitals_is_written_as_text_in_lower_case_is() -> None:
    texts = ("the house it's said", "holmes i the house")
    assert tiny()(transcript(*texts, upper=True)) == tiny()(transcript(*texts))


def test_a_recording_ends_with_a_sentence_and_sentences_begin_with_capitals() -> None:
    for seed in range(8):
        written = tiny(seed).written(["said", "the", "house", "said", "holmes", "the", "house"], [0.1] * 6 + [None])
        assert written[-1].mark in (".", "?")
        assert written[0].capital
        for before, after in pairwise(written):
            assert after.capital or before.mark not in (".", "?")


def test_the_first_person_is_always_a_capital_and_irish_names_have_two() -> None:
    plain = [Written("", False)] * 3
    assert tiny().written(["the", "i", "said"], [None] * 3)[1].capital
    assert Scripted([Written("", True), Written(",", True), plain[0]])(transcript("o'clock o'brien it's")).text == (
        "O'clock O'Brien, it's"
    )


def test_words_are_scored_as_if_all_were_read_at_once_but_for_far_context() -> None:
    punctuator = tiny()
    words = [KNOWN[(place * place + place // 7) % len(KNOWN)] for place in range(2 * WINDOW + 37)]
    pauses = [0.05 * (place % 11) for place in range(len(words))]
    marks, capitals = punctuator._scores(words, pauses)
    features = torch.tensor(features_of(words, pauses, punctuator.places, punctuator.tagger.config))
    with torch.inference_mode():
        whole_marks, whole_capitals = punctuator.tagger(features[None])
    assert CONTEXT >= 50
    torch.testing.assert_close(marks, whole_marks[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(capitals, whole_capitals[0], atol=1e-4, rtol=0)


def test_pauses_of_one_length_are_one() -> None:
    assert pause_of(None) == 0
    lengths = [pause_of(seconds) for seconds in (0.0, 0.09, 0.1, 0.25, 0.4, 0.5, 1.0, 60.0)]
    assert lengths == [1, 1, 2, 3, 4, 5, 6, 7]


def test_nothing_heard_stays_nothing() -> None:
    empty = Transcript("", duration=1.0)
    assert tiny()(empty) is empty


class Pieces:
    """A vocabulary."""

    def __init__(self, *pieces: str) -> None:
        self.pieces, self.vocab_size = pieces, len(pieces)

    def piece(self, id: int) -> str:
        return self.pieces[id]


def test_models_that_write_marks_or_no_spaces_are_refused() -> None:
    check_unwritten(Pieces("", " ", "a", "'"))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"this one writes , \."):
        check_unwritten(Pieces("", " ", "a,", "."))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="writes no spaces"):
        check_unwritten(Pieces("", "a", "b"))  # type: ignore[arg-type]


def test_a_folder_is_read_as_it_was_written_and_refused_where_its_files_differ(tmp_path: Path) -> None:
    punctuator = tiny()
    write_checkpoint(tmp_path, asdict(punctuator.tagger.config), punctuator.tagger.state_dict())
    with pytest.raises(ConfigError, match=WORDS):
        load_punctuation(tmp_path)
    (tmp_path / WORDS).write_text("\n".join(KNOWN) + "\n", encoding="utf-8")
    heard = transcript("the house it's said", "holmes i the house")
    assert Punctuator(*load_punctuation(tmp_path))(heard) == punctuator(heard)
    (tmp_path / WORDS).write_text("\n".join(KNOWN[1:]) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"has {len(KNOWN) - 1} words; expected {len(KNOWN)}"):
        load_punctuation(tmp_path)
    with pytest.raises(CheckpointError):
        load_punctuation(tmp_path / "nothing")


def test_the_network_of_the_package_knows_english() -> None:
    punctuator = Punctuator(*load_punctuation())
    assert MARKS == ("", ",", ".", "?")
    words = "it was late in the evening when mister holmes came in he looked at me but said nothing".split()
    pauses: list[float | None] = [0.0] * len(words)
    pauses[words.index("in", 5)] = 0.8
    pauses[words.index("me")] = 0.4
    pauses[-1] = None
    written = punctuator.written(words, pauses)
    shown = [
        (word[:1].upper() + word[1:] if one.capital else word) + one.mark
        for word, one in zip(words, written, strict=True)
    ]
    assert " ".join(shown) == (
        "It was late in the evening when Mister Holmes came in. He looked at me, but said nothing."
    )
