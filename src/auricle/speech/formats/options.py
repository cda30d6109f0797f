"""How a transcript is to be written."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from auricle.errors import OptionError, nearest
from auricle.speech.subtitles import SubtitleRules

UNITS = ("none", "word", "segment", "char")
# What is cut into subtitles, unless a unit is asked for.
SHAPED_FORMATS = frozenset({"srt", "vtt", "ttml", "lrc", "ass"})
# What can show each word when it is spoken, and what has paragraphs.
WORD_CUE_FORMATS = frozenset({"vtt", "lrc", "ass"})
PARAGRAPH_FORMATS = frozenset({"txt"})


@dataclass(frozen=True)
class WriteOptions:
    """Choices for all formats; what a format cannot do is refused by `check`."""

    unit: str = "none"  # of UNITS: what has times of its own; none: as the format has it by itself
    source: str = ""  # the recording's name
    model: str = ""  # the model's name
    rules: SubtitleRules | None = None  # of subtitles; None: the published ones
    word_cues: bool = False  # times of words within the subtitles
    paragraphs: bool = False  # an empty line where a thought ends

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise OptionError(f"unit={self.unit!r}; expected {', '.join(UNITS)}{nearest(self.unit, UNITS)}")
        if self.rules is not None and self.unit != "none":
            raise OptionError(f"rules shape subtitles, and unit={self.unit!r} asks for other pieces; give one of them")
        if self.word_cues and self.unit in ("word", "char"):
            raise OptionError(f"word_cues with unit={self.unit!r}: a {self.unit} has no words within; leave one out")
        if self.paragraphs and self.unit != "none":
            raise OptionError(f"paragraphs have no times and unit={self.unit!r} asks for some; leave one out")

    def check(self, *forms: str) -> None:
        """Refuse what none of these formats can do.

        Raises: OptionError, naming the option and the formats that have it.
        """
        for name, able in _ABLE.items():
            if getattr(self, name) and not able.intersection(forms):
                raise OptionError(f"{name} does nothing in {', '.join(forms)}; it is for {', '.join(sorted(able))}")

    def only_for(self, form: str) -> WriteOptions:
        """Return the options without those that this format has no use for."""
        defaults = {field.name: field.default for field in fields(self)}
        return replace(self, **{name: defaults[name] for name, able in _ABLE.items() if form not in able})  # type: ignore[arg-type]


_ABLE = {"rules": SHAPED_FORMATS, "word_cues": WORD_CUE_FORMATS, "paragraphs": PARAGRAPH_FORMATS}
