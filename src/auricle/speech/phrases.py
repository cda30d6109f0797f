"""Where a sentence may be broken for a reader: after sentences, after clauses, before what begins a phrase.

Source: Netflix Timed Text Style Guide, General Requirements, "Line Treatment" (after punctuation, before
conjunctions and prepositions; not between an article and its noun, a pronoun and its verb, a first and a last
name); BBC Subtitle Guidelines, section 3.4, "Break at natural points".
"""

from __future__ import annotations

from enum import IntEnum


class Break(IntEnum):
    """What a break between two words separates; the smaller, the better."""

    SENTENCE = 0
    CLAUSE = 1
    PHRASE = 2  # the next word is a conjunction or a preposition
    PLAIN = 3
    BOUND = 4  # two words that belong together


SENTENCE_MARKS = ".?!…。？！．؟۔։।॥｡"
CLAUSE_MARKS = ",;:–—、，；：،؛"
CLOSING_MARKS = "\"'”’»›)]}」』）］｝〉》】〕*_"
# What a line of Chinese or Japanese never begins with (JIS X 4051).
NEVER_FIRST = "々ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ、。，．！？：；）］｝」』】〉》〕…"

# A full stop after these, or after a single letter, ends no sentence.
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc e.g i.e cf approx dept gen col sgt capt lt rev hon "
    "ca bzw usw z.b mme mlle sra sig".split()
)

# Words that begin a phrase: conjunctions and prepositions, by language.
BEGINS_PHRASE = {
    "en": frozenset(
        "and or but nor so yet because although though while when where since until unless if that which who whom "
        "whose than as about above across after against along among around at before behind below beneath beside "
        "between beyond by despite down during except for from in inside into like near of off on onto out outside "
        "over past through throughout to toward towards under upon with within without".split()
    ),
    "de": frozenset(
        "und oder aber denn sondern weil dass ob wenn als während obwohl damit bevor nachdem "
        "an auf aus bei bis durch für gegen hinter in mit nach neben ohne seit über um unter von vor zu "
        "zwischen".split()
    ),
    "fr": frozenset(
        "et ou mais donc or ni car que qui quand comme si lorsque puisque à après avant avec chez contre dans de "
        "depuis derrière dès devant en entre envers jusque malgré par parmi pendant pour sans selon sous sur "
        "vers".split()
    ),
    "es": frozenset(
        "y e o u pero sino ni porque que quien cuando como si aunque mientras a ante bajo con contra de desde "
        "durante en entre hacia hasta mediante para por según sin sobre tras".split()
    ),
    "it": frozenset(
        "e o ma però né perché che chi quando come se mentre anche a con contro da di dopo durante fra in per prima "
        "senza sopra sotto su tra verso".split()
    ),
}

# Words that belong to the next one: articles, possessives, auxiliaries, subject pronouns, negations.
BELONGS_TO_NEXT = {
    "en": frozenset(
        "a an the my your his her its our their this these those some any no every each i you he she it we they is "
        "are was were be been am will would shall should can could may might must do does did have has had not never "
        "very too i'm you're he's she's it's we're they're i'll i've don't didn't doesn't can't won't isn't mr mrs ms "
        "dr".split()
    ),
    "de": frozenset(
        "der die das den dem des ein eine einen einem einer eines mein dein sein ihr unser euer kein keine nicht sehr "
        "ich du er sie es wir".split()
    ),
    "fr": frozenset(
        "le la les un une des du au aux mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette "
        "ces ne je tu il elle on nous vous ils elles très".split()
    ),
    "es": frozenset(
        "el la los las un una unos unas mi mis tu tus su sus nuestro nuestra este esta ese esa no yo él ella se me te "
        "le lo muy del al".split()
    ),
    "it": frozenset(
        "il lo la i gli le un uno una mio mia tuo tua suo sua nostro nostra questo questa quel quella non io tu lui "
        "lei noi voi loro si mi ti ci vi del della al alla molto".split()
    ),
}
_NONE: frozenset[str] = frozenset()


def break_between(word: str, following: str, language: str | None) -> Break:
    """Say what a break between two written words, spaces and punctuation included, would separate.

    Where the language is unknown or has no table, only punctuation tells.
    """
    code = (language or "").lower().replace("_", "-").partition("-")[0]
    bare = word.strip().rstrip(CLOSING_MARKS)
    mark = bare[-1:]
    if ends_sentence(word, following):
        return Break.SENTENCE
    if following.strip()[:1] in tuple(NEVER_FIRST):
        return Break.BOUND
    if mark and (mark in CLAUSE_MARKS or (mark in SENTENCE_MARKS and not _is_abbreviation(bare))):
        return Break.CLAUSE
    if _key(word) in BELONGS_TO_NEXT.get(code, _NONE) or _is_abbreviation(bare):
        return Break.BOUND
    if _key(following) in BEGINS_PHRASE.get(code, _NONE):
        return Break.PHRASE
    return Break.PLAIN


def ends_sentence(word: str, following: str = "") -> bool:
    """Say whether a sentence ends with this word; before a small letter, after "Mr." and "J." none does."""
    bare = word.strip().rstrip(CLOSING_MARKS)
    if bare[-1:] not in tuple(SENTENCE_MARKS):
        return False
    return not _is_abbreviation(bare) and not following.strip().lstrip("\"'“‘«(-–— ")[:1].islower()


def _is_abbreviation(bare: str) -> bool:
    if not bare.endswith(".") or bare.endswith(".."):
        return False
    stem = bare[:-1].lstrip("\"'“‘«(").lower()
    return stem in ABBREVIATIONS or (len(stem) == 1 and stem.isalpha() and stem != "i")


def _key(word: str) -> str:
    return word.strip().strip("\"'“”‘’«»()[]").replace("’", "'").lower()
