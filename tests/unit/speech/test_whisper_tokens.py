"""Special tokens: from today's generation_config.json, and repaired where the file is old or bare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import ConfigError, OptionError
from auricle.speech.languages import ALIASES, LANGUAGES, UNSPACED, language_code
from auricle.speech.whisper_tokens import alignment_heads, non_speech_tokens, read_tokens
from auricle.text.tokenizer import SubwordTokenizer

REAL = Path(__file__).parents[4] / "shared" / "weights" / "whisper-tokenizer"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real Whisper vocabulary is not here: {REAL}")


class Names:
    """A tokenizer that is only a list of special tokens after a number of text tokens."""

    def __init__(self, n_text: int, names: Sequence[str]) -> None:
        self.ids = {name: n_text + place for place, name in enumerate(names)}

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def special(self, token: str) -> int:
        if token not in self.ids:
            raise ConfigError(f"the tokenizer has no token {token!r}")
        return self.ids[token]

    def has_special(self, token: str) -> bool:
        return token in self.ids


def vocabulary(n_text: int, silence: str = "<|nospeech|>") -> Names:
    """Whisper's special tokens, in its order, with three languages."""
    tasks = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|haw|>", *tasks, silence]
    return Names(n_text, [*names, "<|notimestamps|>"])


def test_a_bare_file_is_repaired_from_the_tokenizer() -> None:
    tokens = read_tokens({}, vocabulary(1000))
    assert (tokens.eos, tokens.start, tokens.previous) == (1000, 1001, 1008)
    assert (tokens.no_speech, tokens.no_timestamps, tokens.timestamp_begin) == (1009, 1010, 1011)
    assert tokens.languages == {"en": 1002, "de": 1003, "haw": 1004}
    assert tokens.tasks == {"translate": 1005, "transcribe": 1006}
    assert tokens.multilingual
    assert (tokens.language, tokens.task) == (None, None)
    assert tokens.blank == (32, 1000)
    assert tokens.suppressed == ()
    assert set(tokens.control) == {1001, 1005, 1006, 1007, 1008, 1009}


@pytest.mark.parametrize("silence", ["<|nospeech|>", "<|nocaptions|>", "<|something|>"])
def test_no_speech_is_found_under_each_of_its_names_or_by_its_place(silence: str) -> None:
    assert read_tokens({}, vocabulary(1000, silence)).no_speech == 1009


def test_what_the_file_says_wins_over_the_tokenizer() -> None:
    stated = {
        "eos_token_id": [7, 8],
        "decoder_start_token_id": 9,
        "prev_sot_token_id": 10,
        "no_timestamps_token_id": 500,
        "lang_to_id": {"<|fr|>": 11},
        "task_to_id": {"transcribe": 12},
        "suppress_tokens": [1, 2],
        "begin_suppress_tokens": [3],
    }
    tokens = read_tokens(stated, vocabulary(1000))
    assert (tokens.eos, tokens.start, tokens.previous, tokens.timestamp_begin) == (7, 9, 10, 501)
    assert (tokens.languages, tokens.tasks) == ({"fr": 11}, {"transcribe": 12})
    assert (tokens.suppressed, tokens.blank) == ((1, 2), (3,))


def test_empty_lists_mean_that_nothing_is_suppressed() -> None:
    tokens = read_tokens({"suppress_tokens": [], "begin_suppress_tokens": []}, vocabulary(1000))
    assert (tokens.suppressed, tokens.blank) == ((), ())


def test_the_english_vocabulary_is_known_by_its_end_token() -> None:
    tokens = read_tokens({}, vocabulary(50256))
    assert not tokens.multilingual
    assert (tokens.languages, tokens.tasks) == ({}, {})


@pytest.mark.parametrize(
    ("generation", "multilingual"),
    [
        ({"is_multilingual": True}, True),
        ({"is_multilingual": False}, False),
        ({"forced_decoder_ids": [[1, None], [2, 1006]]}, True),
        ({"forced_decoder_ids": [[1, 1010]]}, False),
        ({"is_multilingual": True, "forced_decoder_ids": [[1, 1010]]}, True),
    ],
)
def test_multilingual_is_what_the_file_says_or_forces(generation: dict[str, Any], multilingual: bool) -> None:
    assert read_tokens(generation, vocabulary(1000)).multilingual == multilingual


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ({"forced_decoder_ids": [[1, None], [2, 1006]]}, (None, "transcribe")),
        ({"forced_decoder_ids": [[1, 1003], [2, 1005], [3, 1010]]}, ("de", "translate")),
        ({"language": "<|de|>", "task": "translate"}, ("de", "translate")),
        ({"language": "german", "forced_decoder_ids": [[1, 1002], [2, 1006]]}, ("de", "transcribe")),
        ({"language": None, "task": None}, (None, None)),
    ],
)
def test_a_checkpoint_s_own_language_and_task_are_read(
    generation: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    tokens = read_tokens(generation, vocabulary(1000))
    assert (tokens.language, tokens.task) == expected


def test_missing_tokens_are_named() -> None:
    with pytest.raises(ConfigError, match="notimestamps"):
        read_tokens({}, Names(10, ["<|endoftext|>"]))
    with pytest.raises(ConfigError, match="lang_to_id, task_to_id"):
        read_tokens(
            {"is_multilingual": True},
            Names(10, ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]),
        )
    with pytest.raises(ConfigError, match="task is 'sing'"):
        read_tokens({"task": "sing"}, vocabulary(1000))


@pytest.mark.parametrize(
    "entry",
    [
        {"suppress_tokens": "1,2"},
        {"suppress_tokens": 5},
        {"begin_suppress_tokens": [220, "x"]},
        {"forced_decoder_ids": [1002, 1006]},
        {"alignment_heads": [0, 1]},
        {"alignment_heads": "2.0"},
        {"lang_to_id": ["<|en|>"]},
        {"task_to_id": {"transcribe": None}},
        {"no_timestamps_token_id": "50363"},
        {"eos_token_id": [7, None]},
        {"decoder_start_token_id": True},
        {"language": 3},
    ],
    ids=str,
)
def test_entries_of_another_shape_are_named_with_what_was_expected(entry: dict[str, Any]) -> None:
    [(key, value)] = entry.items()
    with pytest.raises(ConfigError) as caught:
        read_tokens(entry, vocabulary(1000))
    assert str(caught.value).startswith(f"generation_config.json: {key} is {value!r}; expected ")


def test_a_checkpoint_s_own_language_is_refused_in_the_name_of_its_file() -> None:
    with pytest.raises(ConfigError, match=r"^generation_config\.json: language='klingon' is not a language"):
        read_tokens({"language": "klingon"}, vocabulary(1000))


def test_timestamps_before_the_end_token_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no_timestamps_token_id is 5 .* eos_token_id is 1000"):
        read_tokens({"no_timestamps_token_id": 5}, vocabulary(1000))


def test_tokens_that_the_model_does_not_have_are_named() -> None:
    tokens = read_tokens({"lang_to_id": {"<|en|>": 1002, "<|de|>": 70_000}}, vocabulary(1000))
    tokens.check_size(70_001)
    with pytest.raises(ConfigError, match=r"de is 70000, but the model has 2512 tokens"):
        tokens.check_size(2512)
    with pytest.raises(ConfigError, match=r"no_timestamps is 1010, but the model has 1010 tokens"):
        read_tokens({}, vocabulary(1000)).check_size(1010)


def test_alignment_heads_are_the_checkpoint_s_the_size_s_or_the_upper_half() -> None:
    assert alignment_heads({"alignment_heads": [[1, 2], [3, 0]]}, 4, 6, True) == [(1, 2), (3, 0)]
    assert alignment_heads({}, 4, 6, True) == [(2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)]
    assert alignment_heads({"alignment_heads": None}, 4, 6, False)[0] == (1, 0)
    # Large models of one shape have different heads, so that none are guessed.
    assert alignment_heads({}, 32, 20, True) == [(layer, head) for layer in range(16, 32) for head in range(20)]
    assert alignment_heads({}, 1, 2, True) == [(0, 0), (0, 1)]


def test_alignment_heads_of_a_teacher_with_more_layers_are_not_taken_over() -> None:
    large = {"alignment_heads": [[1, 3], [7, 0], [25, 6]]}
    assert alignment_heads(large, 2, 20, True) == [(1, head) for head in range(20)]
    assert alignment_heads({"alignment_heads": [[0, 0], [1, 2]]}, 2, 2, True) == [(1, 0), (1, 1)]


@needs_real
def test_the_real_vocabulary_without_its_file_gives_what_the_file_says() -> None:
    tokenizer = SubwordTokenizer.from_folder(REAL)
    generation = json.loads((REAL / "generation_config.json").read_text())
    stated = read_tokens(generation, tokenizer)
    assert read_tokens({"suppress_tokens": generation["suppress_tokens"]}, tokenizer) == stated
    assert stated.timestamp_begin == 50364
    assert list(stated.languages) == list(LANGUAGES)[:99]
    assert alignment_heads({}, 6, 8, True) == [tuple(pair) for pair in generation["alignment_heads"]]


@needs_real
def test_non_speech_symbols_are_those_that_openai_lists() -> None:
    tokenizer = SubwordTokenizer.from_folder(REAL)
    # The list that the published multilingual checkpoints carry, without its special tokens.
    published = [
        1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542,
        873, 893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667,
        6585, 6647, 7273, 9061, 9383, 10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618,
        16553, 16604, 18362, 18956, 20075, 21675, 22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470,
        36865, 42863, 47425, 49870, 50254,
    ]  # fmt: skip
    assert list(non_speech_tokens(tokenizer)) == published


def test_there_are_a_hundred_languages_and_every_alias_is_one() -> None:
    assert len(LANGUAGES) == 100
    assert [list(LANGUAGES)[at] for at in (0, 98, 99)] == ["en", "su", "yue"]
    assert set(ALIASES.values()) <= set(LANGUAGES)
    assert set(LANGUAGES) >= UNSPACED


@pytest.mark.parametrize(
    ("given", "code"),
    [("en", "en"), ("English", "en"), ("haitian creole", "ht"), ("Mandarin", "zh"), ("jv", "jw"), ("pt_BR", "pt"),
     ("yue", "yue"), (" DE ", "de")],
)  # fmt: skip
def test_languages_are_found_by_code_name_alias_and_region(given: str, code: str) -> None:
    assert language_code(given, LANGUAGES) == code


def test_unknown_languages_are_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="'spanish'"):
        language_code("spanisch", LANGUAGES)
    with pytest.raises(OptionError, match="cantonese"):
        language_code("yue", list(LANGUAGES)[:99])
