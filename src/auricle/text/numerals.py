"""Numbers in words, in the languages of the num2words library; the usual way to say them first.

Digits may be grouped as the language writes them: 1,234.5 in English, 1.234,5 in most of Europe.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# Languages that write the decimals behind a point; the others have a comma there.
POINT_LANGUAGES = frozenset({"en", "ja", "zh", "ko", "th", "he", "am", "te", "kn", "bn", "cy"})
LARGEST = 10**15  # longer rows of digits are read one by one
FIRST_YEAR, LAST_YEAR = 1100, 2099  # four digits between these are as a rule a year
HUNDREDS = re.compile(r"[1-9]\d00")
ORDINAL = {
    "en": re.compile(r"(\d[\d,]*)(?:st|nd|rd|th)", re.IGNORECASE),
    "fr": re.compile(r"(\d+)(?:er|re|ère|e|ème)", re.IGNORECASE),
    "es": re.compile(r"(\d+)\.?[ºª]"),
    "it": re.compile(r"(\d+)[º°ª]"),
    "pt": re.compile(r"(\d+)\.?[ºª]"),
    "nl": re.compile(r"(\d+)(?:e|de|ste)"),
    "sv": re.compile(r"(\d+):(?:e|a)"),
}


def is_number(text: str) -> bool:
    """Say whether `text` is a number in digits, with a sign, groups and decimals."""
    return re.fullmatch(r"[-−+]?(?:\d[\d.,\u00a0\u202f]*)?\d", text) is not None


def number_readings(text: str, language: str) -> list[str]:
    """The ways to say a number such as "1984", "1,250" or "-2.5"; none in a language that is not there.

    Example: `number_readings("1984", "en")` has "nineteen eighty four" first.
    """
    sign = {"-": "minus ", "−": "minus ", "+": "plus "}.get(text[:1], "") if language == "en" else ""
    whole, decimals = _parts(text.lstrip("-−+"), language)
    digits = _digits(whole, language)
    if len(whole) >= len(str(LARGEST)):
        return digits
    if decimals:
        spoken = _say(float(f"{whole}.{decimals}"), language)
        by_digit = _say(int(whole), language) + _point(language) + " ".join(_digits(decimals, language))
        return [sign + reading for reading in _distinct([by_digit, spoken])]
    found = _cardinals(int(whole), language)
    if len(whole) == 4 and whole.isdecimal() and text.isdecimal() and FIRST_YEAR <= int(whole) <= LAST_YEAR:
        found = [_say(int(whole), language, "year"), *_century(whole, language), *found]
    if text.isdecimal() and (whole.startswith("0") or len(whole) > 4):
        found = [*digits, *found] if whole.startswith("0") and len(whole) > 1 else [*found, *digits]
    if language == "en" and text.isdecimal() and 3 <= len(whole) <= 4 and whole[-2:] != "00":
        found.append(" ".join([*_cardinals(int(whole[:-2]), "en")[:1], _pair(whole[-2:])]))
    return [sign + reading for reading in _distinct(found)]


def ordinal_readings(text: str, language: str) -> list[str]:
    """The ways to say "23rd", "1er" or "3º"; none if it is no ordinal of the language."""
    match = ORDINAL[language].fullmatch(text) if language in ORDINAL else None
    if match is None:
        return []
    return _distinct([_say(int(match[1].replace(",", "")), language, "ordinal")])


def ordinal(number: int, language: str) -> list[str]:
    """The ordinal of a whole number."""
    return _distinct([_say(number, language, "ordinal")])


def _pair(digits: str) -> str:
    """Two digits as at the end of a year or a time: "05" is "oh five"."""
    return f"oh {_say(int(digits), 'en')}" if digits[0] == "0" else _say(int(digits), "en")


def time_readings(hours: str, minutes: str) -> list[str]:
    """The ways to say 10:30 or 9:05 in English."""
    hour = _say(int(hours), "en")
    if minutes == "00":
        return [f"{hour} o'clock", hour, f"{hour} hundred"]
    past = {"15": "quarter past ", "30": "half past "}.get(minutes)
    found = [f"{hour} {_pair(minutes)}"]
    if past:
        found.append(past + hour)
    if minutes == "45":
        found.append(f"quarter to {_say(int(hours) % 12 + 1, 'en')}")
    return found


def decade_readings(text: str) -> list[str]:
    """The ways to say 1980s or 80s in English; none if it is no decade."""
    match = re.fullmatch(r"['’]?(\d\d(?:\d\d)?)['’]?s", text)
    if match is None or not match[1].endswith("0"):
        return []
    way = "year" if len(match[1]) == 4 else "cardinal"
    spoken = _say(int(match[1]), "en", way)
    return [spoken[:-1] + "ies" if spoken.endswith("y") else spoken + ("es" if spoken.endswith("x") else "s")]


def _century(year: str, language: str) -> list[str]:
    if language != "en" or year[1] == "0" or year[2:] == "00":
        return []
    return [f"{_say(int(year[:2]), language)} hundred {_say(int(year[2:]), language)}"]


def _cardinals(number: int, language: str) -> list[str]:
    spoken = _say(number, language)
    found = [spoken]
    if language == "en":
        found = [spoken.replace(" and ", " "), spoken]  # "two hundred and five" is British
        if spoken.startswith(("one hundred", "one thousand", "one million")):
            found.append("a" + found[0].removeprefix("one"))
        if HUNDREDS.fullmatch(str(number)) and number % 1000:
            found.append(f"{_say(number // 100, language)} hundred")
    return found


def _digits(digits: str, language: str) -> list[str]:
    one_by_one = " ".join(_say(int(digit), language) for digit in digits)
    return [one_by_one] if one_by_one.strip() else []


def _parts(text: str, language: str) -> tuple[str, str]:
    """The digits before and behind the decimal mark; a mark that nothing stands before has a zero there."""
    mark = "." if language in POINT_LANGUAGES else ","
    whole, _, decimals = text.partition(mark)
    # "1.5" in a language of commas, or "1,5" in English, has no group of three: the mark is the other's.
    other = "," if mark == "." else "."
    if not decimals and re.fullmatch(rf"\d+{re.escape(other)}\d{{1,2}}", whole):
        whole, _, decimals = whole.partition(other)
    return re.sub(r"\D", "", whole) or "0", re.sub(r"\D", "", decimals)


def _point(language: str) -> str:
    words = _say(1.5, language).split()
    return f" {words[1]} " if len(words) >= 3 else " "


def _say(number: float, language: str, way: str = "cardinal") -> str:
    """What num2words says, without its hyphens and commas; "" where it does not know the language or the way."""
    from num2words import num2words  # heavy, and needed only where there are digits

    say: Callable[..., Any] = num2words
    try:
        spoken = str(say(number, lang=language, to=way))
    except (NotImplementedError, OverflowError, TypeError, ValueError):
        return ""
    return " ".join(re.sub(r"[-,‐‑]", " " if language != "fr" else "-", spoken).replace("-", " ").split())


def _distinct(readings: list[str]) -> list[str]:
    return [reading for reading in dict.fromkeys(" ".join(reading.split()) for reading in readings) if reading]
