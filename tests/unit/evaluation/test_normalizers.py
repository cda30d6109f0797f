from __future__ import annotations

import random
import sys

import pytest
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from auricle.errors import MissingExtraError, OptionError
from auricle.evaluation.normalizers import NORMALIZERS, Normalizer, normalizer, normalizer_for

# Numbers, money, contractions, spellings, brackets and words whose meaning hangs on the word before them.
WORDS = (
    "twenty one hundred million and a half point five $ % £ 20 3.5 1st second minus oh double triple six 007 o'clock "
    "Mr. Mrs. St. can't won't y'all gonna it's he'd've let's ain't colour honour analyse <unk> [noise] (laughs) um hmm "
    "1,000 10 £5.30 twelve been gone got done half dollars per cent percent ten's first é ß İ 50s ¢ € e.g. U.S.A. Dr. "
    "trillion zero 0.0 .5 5. 1/2 thousand-fold cause dunno 'tis the house and grey, said; he: who? she! mother we're "
    "don't shouldn't theatre centre travelled tree's and and and house tree said mother"
).split()


def texts(number: int) -> list[str]:
    chosen = random.Random(0)
    return [" ".join(chosen.choices(WORDS, k=chosen.randint(1, 9))) for _ in range(number)]


def test_whispers_english_is_that_of_transformers() -> None:
    ours = normalizer("whisper-english")
    spellings = ours.rewrite.whole.standardize_spellings.mapping  # type: ignore[attr-defined]
    theirs = EnglishTextNormalizer(spellings)
    numbers = [*sorted(ours.rewrite.dependent), *"and a uh she'd it's o'clock twenty-one two. \"six\"".split() * 9]  # type: ignore[attr-defined]
    mixed = numbers + WORDS[-14:] * 9
    plain = [" ".join(random.Random(seed).choices(mixed, k=9)) for seed in range(500)]
    for text in texts(300) + plain:
        assert ours(text) == " ".join(theirs(text).split()), text


def test_whispers_basic_is_that_of_transformers() -> None:
    ours, theirs = normalizer("whisper-basic"), BasicTextNormalizer()
    for text in [*texts(500), "नमस्ते दुनिया", "Ça va, l’été ?", "你好，世界", "ŒUVRE Straße ﬁn"]:
        assert ours(text) == " ".join(theirs(text).split()), text


# From Whisper's own tests (tests/test_normalizer.py).
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Let's", "let us"),
        ("he's like", "he is like"),
        ("she's been like", "she has been like"),
        ("10km", "10 km"),
        ("10mm", "10 mm"),
        ("RC232", "rc 232"),
        ("Mr. Park visited Assoc. Prof. Kim Jr.", "mister park visited associate professor kim junior"),
        ("two", "2"),
        ("thirty one", "31"),
        ("five twenty four", "524"),
        ("nineteen ninety nine", "1999"),
        ("twenty nineteen", "2019"),
        ("two point five million", "2500000"),
        ("four point two billions", "4200000000s"),
        ("200 thousand", "200000"),
        ("$20 million", "$20000000"),
        ("€52.4 million", "€52400000"),
        ("£77 thousands", "£77000s"),
        ("two double o eight", "2008"),
        ("three thousand twenty nine", "3029"),
        ("forty three thousand two hundred sixty", "43260"),
        ("nineteen hundreds", "1900s"),
        ("one hundred and twenty one", "121"),
        ("ten thousand one hundred and eleven", "10111"),
    ],
)
def test_the_examples_of_whispers_tests(text: str, expected: str) -> None:
    assert normalizer("whisper-english")(text) == expected


def test_basic_keeps_vowel_signs_that_whispers_drops() -> None:
    assert normalizer("basic")("नमस्ते, दुनिया!") == "नमस्ते दुनिया"
    assert normalizer("whisper-basic")("नमस्ते, दुनिया!") != "नमस्ते दुनिया"


def test_basic_keeps_letters_of_every_script_and_inner_apostrophes() -> None:
    assert normalizer("basic")("L’eau d'été — «OUI»… 'n' 你好，世界 a_b [x]") == "l'eau d'été oui n 你好 世界 a b x"


def test_none_only_divides_words() -> None:
    assert normalizer("none")("  Mr.  X \n") == "Mr. X"


def test_hashes_are_those_of_results_that_were_written() -> None:
    """When one of these changes, rows written before can no longer be compared with rows written now."""
    assert {name: normalizer(name).hash for name in NORMALIZERS} == {
        "none": "a36e3b713016fa17",
        "basic": "b559ce6f1326b4c0",
        "english": "544d47730d0f4bcd",
        "whisper-basic": "f92daf779a8c2b5a",
        "whisper-english": "bafd6cd12160c6de",
    }


def test_the_hash_tells_versions_configurations_and_behaviour_apart() -> None:
    one = Normalizer("x", str.lower, "1")
    assert one.hash == Normalizer("x", str.lower, "1").hash
    others = [
        Normalizer("x", str.lower, "2"),
        Normalizer("x", str.lower, "1", {"a": 1}),
        Normalizer("x", str.casefold, "1"),
    ]
    assert len({one.hash, *(other.hash for other in others)}) == 4


def test_the_language_chooses_the_normaliser() -> None:
    assert normalizer_for(["en", "en-GB", "en_us"]).name == "whisper-english"
    assert normalizer_for(["en", "de"]).name == "basic"
    assert normalizer_for([None]).name == "basic"
    assert normalizer_for([]).name == "basic"


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean 'whisper-english'"):
        normalizer("whisper-englsh")


def test_the_absent_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    NORMALIZERS["whisper-english"].cache_clear()  # type: ignore[attr-defined]
    with pytest.raises(MissingExtraError, match=r"auricle\[evaluate\]"):
        normalizer("whisper-english")
