"""What a written word sounds like: numbers, signs, abbreviations and initialisms as words, in several ways if need be.

Only what is written otherwise than spoken is changed; letters keep their case and accents, which are the business of
the vocabulary (speech/spelling.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice, product

from auricle.text.numerals import (
    decade_readings,
    is_number,
    number_readings,
    ordinal,
    ordinal_readings,
    time_readings,
)
from auricle.text.spoken_tables import (
    ABBREVIATIONS,
    MAGNITUDE_WORDS,
    MAGNITUDES,
    MONEY,
    NEEDS_NO_STOP,
    NUMBERED,
    SIGNS,
    UNITS,
)

MOST = 4  # readings of one word
INITIALISM = re.compile(r"[A-Z](?:[A-Z&]|\d(?!\d)){1,5}(?:s|'s|’s)?")
DOTTED = re.compile(r"(?:[^\W\d_]\.){2,}(?:[^\W\d_]\.?)?")
ROMAN = re.compile(r"(?=[IVXLC])(?:XC|XL|L?X{0,3}|C{1,3})(?:IX|IV|V?I{0,3})")
QUANTITY = re.compile(r"([-−+]?\d[\d.,]*?)[ -]?([^\W\d_]+(?:/h)?|°[CFcf]?|%)")


def spoken(words: Sequence[str], language: str = "en") -> list[tuple[str, ...]]:
    """The ways to say each written word in its place among the others, the usual one first; () for nothing to say.

    Example: `spoken(["In", "1984", "Dr.", "Li", "paid", "£3m", "—"])` has ("nineteen eighty four", "one thousand nine
    hundred eighty four", ...) second, and () last.
    """
    code = language.split("-")[0].split("_")[0].lower()
    letters = [word for word in words if any(map(str.isalpha, word))]
    shouted = sum(word == word.upper() for word in letters) * 2 > len(letters)
    found: list[tuple[str, ...]] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        if code == "en":
            readings = _in_context(word, before, after, shouted) or _of_word(word, code, shouted)
        else:
            readings = _of_word(word, code, shouted)
        found.append(tuple(islice(dict.fromkeys(" ".join(reading.split()) for reading in readings), MOST)))
    return found


def _in_context(word: str, before: str, after: str, shouted: bool) -> list[str]:
    """What depends on the neighbours: "$3 million", "Henry VIII"."""
    bare = _bare(word)
    money = re.fullmatch(r"([$£€¥₹])([\d.,]*\d)", bare)
    if money and _bare(after).lower() in MAGNITUDE_WORDS:
        return number_readings(money[2], "en")
    previous = re.fullmatch(r"([$£€¥₹])[\d.,]*\d", _bare(before))
    if previous and bare.lower() in MAGNITUDE_WORDS:
        return [f"{bare} {MONEY['en'][previous[1]][1]}", bare]
    if shouted or not ROMAN.fullmatch(bare) or not before:
        return []
    if before.lower() in NUMBERED:
        return [*number_readings(str(_roman(bare)), "en")[:1], *(f"the {one}" for one in ordinal(_roman(bare), "en"))]
    if len(bare) > 1 and before.isalpha() and before.istitle() and set(bare) <= set("IVX"):
        which = ordinal(_roman(bare), "en")
        return [*(f"the {one}" for one in which), *number_readings(str(_roman(bare)), "en")[:1], " ".join(bare)]
    return []


def _roman(numeral: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}[letter] for letter in numeral]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))


def _of_word(word: str, language: str, shouted: bool) -> list[str]:
    """The ways to say one word by itself."""
    bare = _bare(word)
    if not bare:
        return _sign_readings(word, language)
    if bare.replace("'", "").replace("’", "").isalpha() and (language != "en" or shouted or not bare[1:2].isupper()):
        plain = [bare]
        return _abbreviation(word, bare) + plain if language == "en" and _is_abbreviation(word, bare) else plain
    if language == "en":
        found = _english(word, bare, shouted)
        if found:
            return found
    return _with_digits(bare, language) or _in_pieces(bare, language, shouted)


def _is_abbreviation(word: str, bare: str) -> bool:
    known = bare.lower()
    return known in ABBREVIATIONS and (known in NEEDS_NO_STOP or f"{bare}." in word)


def _abbreviation(word: str, bare: str) -> list[str]:
    return list(ABBREVIATIONS[bare.lower()])


def _english(word: str, bare: str, shouted: bool) -> list[str]:
    """Abbreviations and initialisms."""
    known = bare.lower().rstrip(".")
    if known in ABBREVIATIONS and _is_abbreviation(word, known if known in word else bare.rstrip(".")):
        return list(ABBREVIATIONS[known])
    if DOTTED.fullmatch(bare) or DOTTED.fullmatch(f"{bare}."):
        return [" ".join(bare.replace(".", ""))]
    if not shouted and INITIALISM.fullmatch(bare):
        return _initialism(bare)
    return []


def _initialism(bare: str) -> list[str]:
    """BBC letter by letter; NASA may be a word."""
    ending = re.search(r"['’]?s$", bare)
    stem = bare[: ending.start()] if ending else bare
    letters = [_letter(letter) for letter in stem]
    if ending:
        letters[-1] += "'s"
    spelled = " ".join(letters)
    if not stem.isalpha():
        return [spelled]
    word = bare.replace("’", "'")
    return [word, spelled] if len(stem) > 3 and set(stem) & set("AEIOU") else [spelled, word]


def _letter(letter: str) -> str:
    if letter == "&":
        return "and"
    return number_readings(letter, "en")[0] if letter.isdecimal() else letter


def _with_digits(bare: str, language: str) -> list[str]:
    """Whatever has digits as its core: money, percent, times, ordinals, decades, numbers with units."""
    if not any(map(str.isdecimal, bare)):
        return []
    money = re.fullmatch(r"([-−]?)([$£€¥₹])([\d.,]*\d)(k|m|mn|bn|b|tn)?", bare, re.IGNORECASE) or re.fullmatch(
        r"([-−]?)(?P<number>[\d.,]*\d)(?P<sign>[$£€¥₹])()", bare
    )
    if money:
        groups = money.groupdict()
        sign, number = groups.get("sign") or money[2], groups.get("number") or money[3]
        return _money(sign, number, money[4] or "", language)
    time = re.fullmatch(r"(\d{1,2})[:.](\d\d)(am|pm|a\.m|p\.m)?", bare, re.IGNORECASE)
    if time and language == "en" and (":" in bare or time[3]) and int(time[1]) < 25 and int(time[2]) < 60:
        half = f" {time[3][0]} m" if time[3] else ""
        return [reading + half for reading in time_readings(time[1], time[2])]
    found = ordinal_readings(bare, language) or (decade_readings(bare) if language == "en" else [])
    if found:
        return found
    if is_number(bare):
        return number_readings(bare, language)
    quantity = QUANTITY.fullmatch(bare)
    if quantity and is_number(quantity[1]):
        unit = quantity[2].lower()
        units = UNITS.get(unit, ()) if language == "en" else _signs(language).get(unit, ())
        if units:
            numbers = number_readings(quantity[1], language)
            return [f"{number} {one}" for one, number in product(units, numbers[:2])]
    return []


def _money(sign: str, number: str, magnitude: str, language: str) -> list[str]:
    names = MONEY.get(language, {}).get(sign)
    amounts = number_readings(number, language)
    if names is None or not amounts:
        return []
    if magnitude:
        return [f"{amount} {MAGNITUDES[magnitude.lower()]} {names[1]}" for amount in amounts]
    name = names[0] if number == "1" else names[1]
    cents = re.fullmatch(r"([\d.,]+)[.,](\d\d)", number)
    if cents is None:
        return [f"{amount} {name}" for amount in amounts]
    whole, parts = number_readings(cents[1], language)[0], number_readings(cents[2].lstrip("0") or "0", language)[0]
    name = names[0] if cents[1] == "1" else names[1]
    if not int(cents[2]):
        return [f"{whole} {name}"]
    joint = " and " if language == "en" else " "
    return [f"{whole} {name}{joint}{parts} {names[2]}", f"{whole} {name} {parts}", f"{whole} {parts}"]


def _in_pieces(bare: str, language: str, shouted: bool) -> list[str]:
    """Say the parts of what has several: "well-known", "and/or", "AT&T", "COVID-19", "10-20", "mail@example.com"."""
    half = re.fullmatch(r"(\d)/(\d+)", bare) if language == "en" else None
    if half:
        return _fraction(int(half[1]), int(half[2]))
    pieces = re.findall(r"\d[\d.,]*\d|\d|[^\W\d_](?:[^\W\d_]|['’])*|[^\w\s]|_", bare)
    ranged = re.fullmatch(r"\d[\d.,]*[-–—]\d[\d.,]*%?", bare) is not None and language == "en"
    if re.fullmatch(r"\d{3,4}(?:-\d{3,4}){1,2}", bare) and not re.fullmatch(r"(?:1\d|20)\d\d-(?:1\d|20)\d\d", bare):
        return [" ".join(number_readings(digit, language)[0] for digit in bare if digit.isdecimal())]  # a telephone's
    said: list[list[str]] = []
    for place, piece in enumerate(pieces):
        if piece[0].isdecimal():
            said.append(number_readings(piece, language)[:2])
        elif piece[0].isalpha():
            is_initialism = language == "en" and not shouted and INITIALISM.fullmatch(piece)
            said.append(_initialism(piece)[:1] if is_initialism else [piece])
        elif piece in "-–—/" and ranged:
            said.append(["to", ""])
        elif piece == "." and 0 < place < len(pieces) - 1 and language == "en" and "@" not in pieces[place - 1]:
            said.append(["dot", "point", ""])
        elif piece == "/" and language == "en":
            said.append(["", "slash"])
        elif _signs(language).get(piece):
            said.append(list(_signs(language)[piece][:2]))
    if not any(said) or (any(map(str.isdecimal, bare)) and not all(said)):
        return []
    # Combinations in an order that changes the last part first; the usual way of all is the first.
    return [" ".join(combination) for combination in islice(product(*said), MOST)]


def _fraction(above: int, below: int) -> list[str]:
    one, other = number_readings(str(above), "en")[0], number_readings(str(below), "en")[0]
    plural = "s" if above > 1 else ""
    part = {2: "half", 4: "quarter"}.get(below) or ordinal(below, "en")[0]
    part = "halves" if plural and below == 2 else part + plural
    return [
        f"{one} {part}",
        f"a {part}" if above == 1 else f"{one} over {other}",
        f"{one} {other}",
        f"{one} slash {other}",
    ]


def _signs(language: str) -> dict[str, tuple[str, ...]]:
    return SIGNS.get(language, {})


def _sign_readings(word: str, language: str) -> list[str]:
    known = [sign for sign in word if sign in _signs(language)]
    return list(_signs(language)[known[0]]) if len(known) == 1 else []


def _bare(word: str) -> str:
    """The word without the punctuation around it; signs that are said stay."""
    start, end = 0, len(word)
    while start < end and _is_punctuation(word[start], "-−+#@'’" if word[start + 1 : start + 2].isdecimal() else "#@"):
        start += 1
    while end > start and _is_punctuation(word[end - 1], "%'’" if word[end - 2 : end - 1] in ("s", "S") else "%"):
        end -= 1
    return word[start:end]


def _is_punctuation(character: str, spoken_here: str) -> bool:
    if character in spoken_here or character in "$£€¥₹°%½¼¾²³":
        return False
    return unicodedata.category(character)[0] not in "LNM" or character == "\ufe0f"
