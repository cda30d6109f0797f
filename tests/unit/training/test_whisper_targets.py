"""Sequences of tokens and their spans, written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from whisper_toy import write_tokenizer

from auricle.speech.whisper_tokens import read_tokens
from auricle.text import SubwordTokenizer
from auricle.training.whisper_states import LabelledWindow
from auricle.training.whisper_targets import EXACT, NO_SPAN, Vocabulary, frequent_tokens, make_example
from auricle.training.whisper_windows import Spoken

TIMED, PLAIN = replace(EXACT, timed=1.0), replace(EXACT, timed=0.0)
AB = Spoken(("ab", "c"), ((0.5, 1.0), (1.0, 1.5)))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder = write_tokenizer(tmp_path_factory.mktemp("toy") / "tokenizer")
    tokenizer = SubwordTokenizer.from_folder(folder)
    generation = json.loads((folder / "generation_config.json").read_text())
    text = frequent_tokens(["ab"] * 9, tokenizer, 5)
    return Vocabulary(text, tokenizer, read_tokens(generation, tokenizer))


def window(*spoken: Spoken, history: tuple[str, ...] = ()) -> LabelledWindow:
    return LabelledWindow(Path(), 0, spoken, history, "one", 30.0)


def written(vocabulary: Vocabulary, numbers: list[int]) -> list[str | float]:
    """Timestamps as seconds, control tokens by name, text as text."""
    names = {
        getattr(vocabulary, name): name
        for name in ("eos", "start", "english", "transcribe", "no_speech", "no_timestamps", "previous", "unseen")
    }
    found: list[str | float] = []
    for number in numbers:
        if number in names:
            found.append(names[number])
        elif number >= vocabulary.first_time:
            found.append(round((number - vocabulary.first_time) * 0.02, 2))
        else:
            found.append(vocabulary._tokenizer.decode([vocabulary.ids[number]]))
    return found


def test_a_sentence_stands_between_its_times(vocabulary: Vocabulary) -> None:
    made = make_example(window(AB), vocabulary, TIMED, np.random.default_rng(0))
    assert made is not None
    assert written(vocabulary, made.inputs) == ["start", "english", "transcribe", 0.5, " ab", " ", "c", 1.5]
    assert written(vocabulary, made.outputs) == ["english", "transcribe", 0.5, " ab", " ", "c", 1.5, "eos"]
    # A space writes no letter and takes as much time as one: half of the word.
    assert made.spans == [NO_SPAN, NO_SPAN, (25, 35), (25, 50), (50, 62), (62, 75), (65, 75), (75, 85)]


def test_without_times_nothing_is_learnt_from_the_user_s_choice(vocabulary: Vocabulary) -> None:
    made = make_example(window(AB), vocabulary, PLAIN, np.random.default_rng(0))
    assert made is not None
    assert written(vocabulary, made.outputs) == ["english", "transcribe", "no_timestamps", " ab", " ", "c", "eos"]
    assert made.weights == [1.0, 0.1, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_a_cut_sentence_after_a_whole_one_only_opens(vocabulary: Vocabulary) -> None:
    cut = Spoken(("ab",), ((28.0, 29.0),), is_cut=True)
    made = make_example(window(AB, cut), vocabulary, TIMED, np.random.default_rng(0))
    assert made is not None
    assert written(vocabulary, made.outputs)[-3:] == [1.5, 28.0, "eos"]


def test_a_cut_sentence_alone_goes_on_after_its_last_whole_word(vocabulary: Vocabulary) -> None:
    made = make_example(window(replace(AB, is_cut=True)), vocabulary, TIMED, np.random.default_rng(0))
    assert made is not None
    assert written(vocabulary, made.outputs)[-5:] == [" ", "c", 1.5, 1.5, "eos"]


def test_silence_is_named_in_place_of_the_language(vocabulary: Vocabulary) -> None:
    made = make_example(window(), vocabulary, TIMED, np.random.default_rng(0))
    assert made is not None
    assert (written(vocabulary, made.inputs), written(vocabulary, made.outputs)) == (["start"], ["no_speech"])


def test_a_window_with_half_a_word_teaches_nothing(vocabulary: Vocabulary) -> None:
    assert make_example(window(Spoken((), (), True)), vocabulary, TIMED, np.random.default_rng(0)) is None


def test_history_stands_before_and_is_not_learnt(vocabulary: Vocabulary) -> None:
    told = replace(PLAIN, with_history=1.0)
    for seed in range(6):
        made = make_example(window(AB, history=("ab", "ab")), vocabulary, told, np.random.default_rng(seed))
        assert made is not None
        names = written(vocabulary, made.inputs)
        at = names.index("start")
        assert names[0] == "previous"
        assert " ab" in names[1:at]
        assert made.weights[:at] == [0.0] * at
        assert made.weights[at:] == [1.0, 0.1, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_rare_words_are_spelled_by_frequent_tokens(vocabulary: Vocabulary) -> None:
    for word in ("abba", "cab", "a"):
        for numbers in (vocabulary.word(word), vocabulary.anyhow(word, np.random.default_rng(0))):
            assert "".join(map(str, written(vocabulary, numbers))) == f" {word}"
    assert vocabulary.as_written("é")[-1] == vocabulary.unseen
