"""Character vocabularies, read from folders written here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auricle.errors import ConfigError, OptionError
from auricle.text import CharacterTokenizer, SubwordTokenizer, open_tokenizer

VOCABULARY = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "'": 7}


def write(folder: Path, **files: object) -> Path:
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_delimiters_become_spaces_and_special_tokens_nothing() -> None:
    tokenizer = CharacterTokenizer(VOCABULARY)
    assert tokenizer.decode([1, 4, 5, 4, 6, 3, 7, 2, 4]) == "A B'"
    assert [tokenizer.piece(id) for id in range(8)] == ["", "", "", "", " ", "A", "B", "'"]
    assert tokenizer.blank == 0
    assert tokenizer.vocab_size == 8


def test_ids_past_the_vocabulary_write_nothing() -> None:
    tokenizer = CharacterTokenizer(VOCABULARY)
    assert tokenizer.decode([5, 31, 6]) == "AB"
    assert tokenizer.piece(31) == ""


def test_encode_inverts_decode_and_marks_unknown_characters() -> None:
    tokenizer = CharacterTokenizer(VOCABULARY)
    assert tokenizer.encode("AB 'A") == [5, 6, 4, 7, 5]
    assert tokenizer.decode(tokenizer.encode("AB 'A")) == "AB 'A"
    assert tokenizer.encode("AZ") == [5, 3]


def test_encode_without_an_unknown_token_names_the_characters() -> None:
    tokenizer = CharacterTokenizer({"<pad>": 0, "|": 1, "a": 2})
    with pytest.raises(OptionError, match=r"'xz'"):
        tokenizer.encode("a zax")


PHONES = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "n": 4, "tʃ": 5, "oː": 6, "|": 7}


@pytest.mark.parametrize(("delimiter", "expected"), [("|", "tʃ oː n"), (None, "tʃ oː | n")])
def test_phones_are_written_apart(tmp_path: Path, delimiter: str | None, expected: str) -> None:
    settings = {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "word_delimiter_token": delimiter}
    write(tmp_path, vocab=PHONES, tokenizer_config={**settings, "phone_delimiter_token": " ", "do_phonemize": True})
    tokenizer = CharacterTokenizer.from_folder(tmp_path)
    assert tokenizer.decode([0, 5, 6, 3, 7, 4, 2]) == expected
    assert [tokenizer.piece(id) for id in (1, 5, 4)] == ["", " tʃ", " n"]
    assert tokenizer.blank == 1
    assert tokenizer.encode("tʃ oː  n") == [5, 6, 4]
    assert tokenizer.encode("t oː") == [3, 6]


def test_longest_tokens_are_encoded_whole() -> None:
    tokenizer = CharacterTokenizer({"<pad>": 0, "|": 1, "c": 2, "h": 3, "ch": 4})
    assert tokenizer.encode("hch c") == [3, 4, 1, 2]


def test_lower_casing_writes_lower_and_reads_upper(tmp_path: Path) -> None:
    write(tmp_path, vocab=VOCABULARY, tokenizer_config={"do_lower_case": True})
    tokenizer = CharacterTokenizer.from_folder(tmp_path)
    assert tokenizer.decode([5, 4, 6]) == "a b"
    assert tokenizer.piece(5) == "a"
    assert tokenizer.encode("a b") == [5, 4, 6]


def test_settings_are_read_in_both_spellings(tmp_path: Path) -> None:
    write(
        tmp_path,
        vocab={"[PAD]": 2, "_": 0, "a": 1},
        tokenizer_config={"pad_token": {"content": "[PAD]", "special": True}, "word_delimiter_token": "_"},
        special_tokens_map={"unk_token": "[UNK]"},
        added_tokens={"[UNK]": 3},
    )
    tokenizer = open_tokenizer(tmp_path, "hubert")
    assert tokenizer.blank == 2
    assert tokenizer.decode([1, 0, 3, 1]) == "a a"


def test_blank_is_found_by_the_model_config_if_the_name_is_unknown(tmp_path: Path) -> None:
    write(tmp_path, vocab={"[PAD]": 2, "|": 0, "a": 1}, config={"pad_token_id": 2})
    assert open_tokenizer(tmp_path, "wav2vec2").blank == 2


def test_vocabulary_without_blank_is_refused(tmp_path: Path) -> None:
    write(tmp_path, vocab={"<pax>": 2, "|": 0, "a": 1})
    with pytest.raises(ConfigError, match=r"'<pad>'.*did you mean '<pax>'"):
        open_tokenizer(tmp_path, "wav2vec2")


def test_language_chooses_the_vocabulary(tmp_path: Path) -> None:
    nested = {"eng": {"<pad>": 0, "|": 1, "a": 2}, "rus": {"<pad>": 0, "|": 1, "я": 2}}
    write(tmp_path, vocab=nested, tokenizer_config={"target_lang": "eng"})
    assert open_tokenizer(tmp_path, "wav2vec2").decode([2]) == "a"
    assert open_tokenizer(tmp_path, "wav2vec2", "rus").decode([2]) == "я"
    with pytest.raises(OptionError, match=r"'ruz'.*has eng, rus; did you mean 'rus'"):
        open_tokenizer(tmp_path, "wav2vec2", "ruz")


def test_language_must_be_given_where_there_are_several(tmp_path: Path) -> None:
    write(tmp_path, vocab={"eng": {"<pad>": 0}, "rus": {"<pad>": 0}})
    with pytest.raises(OptionError, match=r"give target_lang, one of eng, rus"):
        open_tokenizer(tmp_path, "wav2vec2")


def test_language_of_a_single_vocabulary_is_refused(tmp_path: Path) -> None:
    write(tmp_path, vocab=VOCABULARY)
    with pytest.raises(OptionError, match=r"single vocabulary"):
        open_tokenizer(tmp_path, "wav2vec2", "eng")


@pytest.mark.parametrize("text", ["[1, 2]", "{", '"a"', '{"a": "b"}', '{"a": 1.5}'])
def test_malformed_vocabularies_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "vocab.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"vocab\.json"):
        open_tokenizer(tmp_path, "wav2vec2")


def test_folder_without_tokenizer_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected vocab\.json"):
        open_tokenizer(tmp_path, "wav2vec2")
    with pytest.raises(ConfigError, match=r"expected tokenizer\.json"):
        open_tokenizer(tmp_path, "parakeet_ctc")


def test_other_tokenizers_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, vocab=VOCABULARY, tokenizer_config={"tokenizer_class": "BertTokenizer"})
    with pytest.raises(ConfigError, match=r"BertTokenizer.* expected one of .*Wav2Vec2PhonemeCTCTokenizer"):
        open_tokenizer(tmp_path, "wav2vec2")


def test_subword_files_are_told_from_characters(tmp_path: Path) -> None:
    write(tmp_path, vocab={"a": 0, "b": 1, "ab": 2}, added_tokens={"<|endoftext|>": 3, "<|en|>": 4})
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    tokenizer = open_tokenizer(tmp_path, "whisper")
    assert isinstance(tokenizer, SubwordTokenizer)
    assert tokenizer.encode("abb") == [2, 1]
    assert tokenizer.decode([2, 4, 1, 3]) == "abb"
    assert tokenizer.special("<|en|>") == 4
