"""Labels and the characters that they are made of."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import OptionError
from auricle.text.characters import CharacterTokenizer
from auricle.training.ctc_labels import kept_labels
from auricle.training.labels import LabelRules
from auricle.training.vocabulary import build_vocabulary

BY_HAND = [
    (None, "Hello,  World!", "hello world"),
    (None, "don’t -- he said, 'Stop!'", "don't he said stop"),
    (None, "ja/nein, foo—bar", "ja nein foo bar"),
    (None, "well‑known", "well-known"),
    (None, "soft\u00adhyphen \u202bhi\u202c", "softhyphen hi"),
    (None, "İstanbul", "istanbul"),
    ("tr", "ILIK İYİ Diyarbakır", "ılık iyi diyarbakır"),
    ("tr-TR", "I\u0307YI\u0307", "iyi"),
    ("az", "QIZIL İ", "qızıl i"),
    ("tur", "ILIK", "ılık"),
    ("lt", "I\u0307\u0300 Ė", "ì ė"),
    ("de", "Straße, GROẞ – Fußball", "straße groß fußball"),
    ("el", "Ο ΟΔΥΣΣΕΑΣ, ΕΙΣ", "ο οδυσσεας εις"),
    ("nl", "'t is 's avonds", "'t is 's avonds"),
    ("en", "'tis the dogs' bone", "tis the dogs bone"),
    ("ga", "a nAthair", "a n-athair"),
    ("fr", "L’été, c'est-à-dire", "l'été c'est-à-dire"),
    ("zh-CN", "你好，世界。", "你好 世界"),
    ("hi", "नमस्ते, दुनिया!", "नमस्ते दुनिया"),
    ("fa", "می\u200cخواهم", "می\u200cخواهم"),
    ("en", "zero\u200cwidth", "zerowidth"),
    ("ka", "საქართველო", "საქართველო"),
    ("uk", "м’ята", "м'ята"),
    ("yo", "ọ̀rọ̀", unicodedata.normalize("NFC", "ọ̀rọ̀")),
    ("en", "50% of 3", "50 of 3"),
]


@pytest.mark.parametrize(("locale", "text", "label"), BY_HAND)
def test_labels_are_as_the_language_writes_them(locale: str | None, text: str, label: str) -> None:
    assert LabelRules(locale).normalize(text) == label


@given(st.text(max_size=40), st.sampled_from([None, "tr", "lt", "el", "nl", "fa", "ga", "zh"]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_label_is_its_own_label(text: str, locale: str | None, compatibility: bool) -> None:
    rules = LabelRules(locale, compatibility=compatibility)
    once = rules.normalize(text)
    assert rules.normalize(once) == once
    assert once == once.strip()
    assert "  " not in once


def test_compatible_forms_are_kept_apart_unless_asked() -> None:
    assert LabelRules().normalize("ﬁne") == "ﬁne"
    assert LabelRules(compatibility=True).normalize("ﬁne Ａ") == "fine a"


def test_what_is_removed_is_counted_with_its_own_character() -> None:
    removed: Counter[str] = Counter()
    LabelRules(chars_to_ignore="…").normalize("Wait… 5 € – or 5 €?", removed)
    assert removed == {"…": 1, "€": 2, "–": 1, "?": 1}


def test_ignored_characters_join_what_they_stand_between() -> None:
    assert LabelRules(chars_to_ignore="-").normalize("well-known") == "wellknown"


def test_no_dot_is_left_of_a_turkish_capital() -> None:
    for locale in (None, "tr"):
        assert "\u0307" not in build_vocabulary(["İzmir", "IĞDIR"], locale).characters


def test_order_of_texts_does_not_change_a_vocabulary() -> None:
    texts = ["ça va", "être", "zéro", "Ünlü", "abc"] * 3
    shuffled = random.Random(1).sample(texts, len(texts))
    first, second = build_vocabulary(texts), build_vocabulary(shuffled)
    assert first.ids == second.ids
    assert list(first.ids) == ["|", *sorted(first.characters), "[UNK]", "[PAD]"]
    assert first.blank == first.ids["[PAD]"] == len(first) - 1


def test_what_only_others_have_is_reported_and_not_learned() -> None:
    vocabulary = build_vocabulary(["aab 1", "b"])
    assert vocabulary.outside(["abc C", "ß"]) == {"c": 2, "ß": 1}
    assert vocabulary.rare(2) == {"1": 1}
    assert vocabulary.digits() == {"1": 1}
    assert build_vocabulary(["5 € + 3%!"]).removed.symbols() == {"€": 1, "+": 1, "%": 1}


def test_texts_of_nothing_are_refused() -> None:
    with pytest.raises(OptionError, match="2 texts"):
        build_vocabulary(["!?", "…"])


def test_a_saved_vocabulary_is_read_as_it_was(tmp_path: Path) -> None:
    vocabulary = build_vocabulary(["çok güzel", "ağaç"], "tr")
    vocabulary.save(tmp_path)
    read = CharacterTokenizer.from_folder(tmp_path)
    assert read.vocab_size == len(vocabulary)
    assert read.blank == vocabulary.blank
    ids = read.encode("çok ağaç")
    assert ids == vocabulary.tokenizer().encode("çok ağaç")
    assert read.decode(ids) == "çok ağaç"
    assert read.encode("ж") == [vocabulary.ids["[UNK]"]]


def test_languages_share_a_file_of_vocabularies(tmp_path: Path) -> None:
    build_vocabulary(["abc"]).save(tmp_path, "eng")
    build_vocabulary(["жук"]).save(tmp_path, "rus")
    assert CharacterTokenizer.from_folder(tmp_path, "rus").decode([1, 2]) == "жк"
    assert CharacterTokenizer.from_folder(tmp_path, "eng").decode([1, 2]) == "ab"


def test_transformers_reads_the_same_ids(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = build_vocabulary(["don't go", "çok iyi"])
    vocabulary.save(tmp_path / "flat")
    vocabulary.save(tmp_path / "nested", "tur")
    for folder in ("flat", "nested"):
        theirs = transformers.Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / folder)
        assert len(theirs) == len(vocabulary), folder
        assert theirs.pad_token_id == vocabulary.blank
        for text in ("don't go", "çok xi", "g|o"):
            assert theirs(text).input_ids == vocabulary.tokenizer().encode(text)
        ids = vocabulary.tokenizer().encode("don't go")
        assert theirs.decode(ids, group_tokens=False) == "don't go"


def test_rules_follow_the_vocabulary_of_a_checkpoint(tmp_path: Path) -> None:
    upper = CharacterTokenizer({"<pad>": 0, "|": 1, "A": 2, "S": 3, "'": 4})
    assert kept_labels(upper, tmp_path, None).spelled("as, 'ß’s") == "AS ß'S"
    mixed = CharacterTokenizer({"<pad>": 0, "|": 1, "A": 2, "a": 3, ".": 4})
    assert kept_labels(mixed, tmp_path, None).spelled("Aa. a!") == "Aa. a"
