"""Whisper's languages: the code in its vocabulary, the English name, and other names people use.

Source: openai/whisper tokenizer.py, LANGUAGES and TO_LANGUAGE_CODE. The order is that of the vocabulary;
Cantonese (yue) came with large-v3, and a checkpoint's own list says whether it has it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from auricle.errors import OptionError, nearest

_TABLE = """
en english|zh chinese|de german|es spanish|ru russian|ko korean|fr french|ja japanese|pt portuguese|tr turkish
pl polish|ca catalan|nl dutch|ar arabic|sv swedish|it italian|id indonesian|hi hindi|fi finnish|vi vietnamese
he hebrew|uk ukrainian|el greek|ms malay|cs czech|ro romanian|da danish|hu hungarian|ta tamil|no norwegian
th thai|ur urdu|hr croatian|bg bulgarian|lt lithuanian|la latin|mi maori|ml malayalam|cy welsh|sk slovak
te telugu|fa persian|lv latvian|bn bengali|sr serbian|az azerbaijani|sl slovenian|kn kannada|et estonian
mk macedonian|br breton|eu basque|is icelandic|hy armenian|ne nepali|mn mongolian|bs bosnian|kk kazakh
sq albanian|sw swahili|gl galician|mr marathi|pa punjabi|si sinhala|km khmer|sn shona|yo yoruba|so somali
af afrikaans|oc occitan|ka georgian|be belarusian|tg tajik|sd sindhi|gu gujarati|am amharic|yi yiddish|lo lao
uz uzbek|fo faroese|ht haitian creole|ps pashto|tk turkmen|nn nynorsk|mt maltese|sa sanskrit|lb luxembourgish
my myanmar|bo tibetan|tl tagalog|mg malagasy|as assamese|tt tatar|haw hawaiian|ln lingala|ha hausa|ba bashkir
jw javanese|su sundanese|yue cantonese
"""

LANGUAGES: dict[str, str] = {
    code: name
    for code, _, name in (entry.partition(" ") for line in _TABLE.split("\n") if line for entry in line.split("|"))
}

# Further names, and the codes of ISO 639-1 that the vocabulary writes otherwise.
ALIASES: dict[str, str] = {
    "burmese": "my",
    "castilian": "es",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
    "jv": "jw",
    "nb": "no",
}

# Written without spaces between words, so that words are cut at characters.
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


# "quc", "en-GB", "zh_Hant": no other word is as short as a code.
_CODE = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,8})*")


def text_language(language: str) -> str:
    """The code of the language of a given text, which may be none of Whisper's; a region stays.

    Raises:
        OptionError: if it is neither a code nor an English name.
    """
    name = language.strip().lower().removeprefix("<|").removesuffix("|>") if isinstance(language, str) else ""
    code = ({spelled: code for code, spelled in LANGUAGES.items()} | ALIASES).get(name, name)
    if not _CODE.fullmatch(code):
        raise OptionError(
            f"language={language!r} is not a language{nearest(name, [*LANGUAGES.values(), *ALIASES]) if name else ''}; "
            "expected a code such as 'en' or an English name such as 'german'"
        )
    return code


def named_language(language: str) -> str:
    """The code of an English name; a code stays as it is given.

    >>> named_language("Turkish"), named_language("pt-BR")
    ('tr', 'pt-BR')

    Raises:
        OptionError: if it is neither.
    """
    code = text_language(language)
    return language.strip() if _CODE.fullmatch(language.strip().lower()) else code


def language_code(language: str, known: Collection[str]) -> str:
    """The code of a language given as `en`, `English`, `<|en|>` or `en-GB`, one that a checkpoint knows.

    Raises:
        OptionError: if it is no language, or not one of the checkpoint's.
    """
    name = language.strip().lower().removeprefix("<|").removesuffix("|>")
    names = {spelled: code for code, spelled in LANGUAGES.items()} | ALIASES
    candidates = [name, name.replace("_", "-").split("-")[0]]
    for candidate in candidates:
        code = names.get(candidate, candidate)
        if code in known:
            return code
    for candidate in candidates:
        code = names.get(candidate, candidate)
        if code in LANGUAGES:
            raise OptionError(
                f"language={language!r} ({LANGUAGES[code]}) is none of the {len(known)} languages of this "
                "checkpoint; choose another one, or leave the language out to have it detected"
            )
    raise OptionError(
        f"language={language!r} is not a language Whisper knows{nearest(name, [*LANGUAGES, *names])}; "
        "expected a code such as 'en' or an English name such as 'german'"
    )


def language_name(code: str | None) -> str:
    """The English name of a code, as a sentence has it; a code that is unknown stays."""
    return LANGUAGES.get(code or "", code or "no language").title()
