"""Which of a row's fields is the sound, which the text, and so on."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.corpora.report import BAD_TIMES, NO_AUDIO, OUTSIDE
from auricle.corpora.utterance import Sound, Utterance
from auricle.errors import OptionError, nearest

AUDIO = ("audio", "audio_filepath", "path", "file_name", "audio_path", "file", "wav", "filename")
TEXT = ("text", "sentence", "normalized_text", "transcript", "transcription", "raw_text")
ID = ("id", "utt_id", "utterance_id", "uid", "key")
DURATION = ("duration", "duration_s", "length_s")
LANGUAGE = ("language", "locale", "lang")
SPEAKER = ("speaker", "speaker_id", "client_id", "spk")
# A folder or a part of a file's name that is a split, as Hugging Face's `datasets` takes them.
SPLITS = ("train", "training", "dev", "validation", "valid", "val", "eval", "test", "testing")
ALL = "train"  # the split of what says none, as in `datasets`


class Unusable(Exception):  # noqa: N818
    """A row that cannot be used; its text is the reason."""


@dataclass(frozen=True)
class Fields:
    """The names of fields by role, best first; an explicit name stands alone."""

    audio: tuple[str, ...] = AUDIO
    text: tuple[str, ...] = TEXT

    @classmethod
    def named(cls, audio: str | None, text: str | None) -> Fields:
        """Take the names that a caller gave, and the usual ones where none was given."""
        return cls((audio,) if audio else AUDIO, (text,) if text else TEXT)

    def check(self, names: Iterable[str], where: str) -> None:
        """Refuse a name that was given and is not among those there are.

        Raises:
            OptionError: it is not.
        """
        known = list(names)
        for flag, wanted, usual in (("text_column", self.text, TEXT), ("audio_column", self.audio, AUDIO)):
            if wanted is not usual and wanted[0] not in known:
                raise OptionError(
                    f"{flag}={wanted[0]!r}: {where} has no such column{nearest(wanted[0], known)}; it has "
                    f"{', '.join(known) or 'none'}"
                )

    def used(self, names: Iterable[str]) -> dict[str, str]:
        """Return the columns that are taken, by role, of those there are."""
        known = set(names)
        roles = {
            "audio": self.audio,
            "text": self.text,
            "id": ID,
            "duration": DURATION,
            "language": LANGUAGE,
            "speaker": SPEAKER,
        }
        found = {role: next((name for name in wanted if name in known), None) for role, wanted in roles.items()}
        return {role: name for role, name in found.items() if name is not None}


@dataclass(frozen=True)
class Base:
    """Where relative paths begin, and whether a path may lead elsewhere."""

    folder: Path
    is_closed: bool = True  # a dataset that came from elsewhere: its paths stay within its folder

    def path(self, name: str) -> str:
        """Return the place of a file.

        Raises:
            Unusable: it leads out of the folder.
        """
        if "://" in name and not self.is_closed:
            return name
        whole = os.path.normpath(os.path.join(self.folder, name))
        # Both from the root on: the folder may be given as ".", and the name may be an absolute path.
        if self.is_closed and not Path(os.path.abspath(whole)).is_relative_to(os.path.abspath(self.folder)):
            raise Unusable(OUTSIDE)
        return whole


def utterance(record: Mapping[str, Any], fields: Fields, base: Base, prefix: str = "") -> Utterance:
    """Make a row of what a dataset has in its fields. Times are NeMo's (offset, duration), or `start` and `end`.

    Where no field is an id, the path is, with `prefix` before it and the times of a stretch behind.

    Raises:
        Unusable: it has no sound, or its times are none.
    """
    audio_key = _first(record, fields.audio)
    audio, name = _sound(record.get(audio_key or ""), base)
    start, end = _times(record)
    text_key, id_key = _first(record, fields.text), next((key for key in ID if not _is_blank(record.get(key))), None)
    if id_key:
        given = str(record[id_key])
    else:
        times = "" if start is None else f"#{start:g}-{'' if end is None else format(end, 'g')}"
        given = f"{prefix}{name or ''}{times}"
    duration = seconds(record.get(_first(record, DURATION) or ""))
    if duration is None and start is not None and end is not None:
        duration = end - start
    roles = {key: _first(record, names) for key, names in (("language", LANGUAGE), ("speaker", SPEAKER))}
    taken = {audio_key, text_key, id_key, *roles.values(), "offset", "start", "end", *DURATION}
    return Utterance(
        id=given,
        audio=audio,
        text=text_of(record[text_key]) if text_key else None,
        start=start,
        end=end,
        duration=duration,
        language=_said(record, roles["language"]),
        speaker=_said(record, roles["speaker"]),
        extra={key: value for key, value in record.items() if key not in taken},
    )


def text_of(value: Any) -> str | None:
    """Return a text as it is written; None where there is none."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return text if text.strip() else None


def seconds(value: Any) -> float | None:
    """Return a duration that is one; None for anything else."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def split_in(parts: Sequence[str], otherwise: str = ALL) -> str:
    """Return the first part of a path that names a split, else the one split there is."""
    return next((part for part in parts if part.lower() in SPLITS), otherwise)


def split_of_name(name: str, otherwise: str = ALL) -> str:
    """Return the split that a file's name or a folder before it says: train-00000-of-00004, test_manifest, test/a."""
    parts = [part for place in reversed(name.split("/")) for part in re.split(r"[-_. ]", place)]
    return split_in(parts, otherwise)


def _sound(value: Any, base: Base) -> tuple[Sound, str | None]:
    """Return the sound of a field, and a name that it has in the dataset."""
    if isinstance(value, Mapping):
        path, content = value.get("path"), value.get("bytes")
        name = path if isinstance(path, str) and path else None
        if isinstance(content, bytes | bytearray | memoryview):
            return bytes(content), name
        if value.get("array") is not None and value.get("sampling_rate") is not None:
            return dict(value), name
        value = path
    if isinstance(value, bytes) and value:
        return value, None
    if not isinstance(value, str) or not value.strip():
        raise Unusable(NO_AUDIO)
    return base.path(value), value


def _times(record: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return where a stretch begins and ends; (None, None) for a whole recording."""
    given = {key: record[key] for key in ("offset", "start", "end") if not _is_blank(record.get(key))}
    if "offset" in given:
        start, duration = seconds(given["offset"]), seconds(record.get("duration"))
        if start is None or duration == 0:
            raise Unusable(BAD_TIMES)
        return start, None if duration is None else start + duration
    if not given:
        return None, None
    start, end = seconds(given.get("start", 0.0)), seconds(given.get("end"))
    if start is None or ("end" in given and end is None) or (end is not None and end <= start):
        raise Unusable(BAD_TIMES)
    return start, end


def _is_blank(value: Any) -> bool:
    """Whether a field says nothing: a table has an empty cell where JSON has null, or no key."""
    return value is None or (isinstance(value, str) and not value.strip())


def _first(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if record.get(name) is not None), None)


def _said(record: Mapping[str, Any], name: str | None) -> str | None:
    return text_of(record[name]) if name else None
