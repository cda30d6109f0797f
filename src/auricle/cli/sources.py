"""What to transcribe: files, folders, globs, URLs and stdin in; one named source each out."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from auricle.corpora.walk import SUFFIXES  # of a folder; a file that is named itself may have any
from auricle.errors import OptionError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # of any scheme: which ones are fetched is told when it is opened
_LONGEST = 220  # bytes of an output's name, of 255 that file systems take: endings and a journal's name are added
_CUT = 200  # bytes that are kept of a longer one


@dataclass(frozen=True)
class Source:
    """One recording: what opens it, and where its results are within the output folder."""

    given: str  # a path, a URL, or "-" for stdin
    output: Path  # relative, without a suffix

    @property
    def name(self) -> str:
        """The name in messages and in JSON."""
        return "stdin" if self.given == "-" else self.given

    @property
    def row_name(self) -> str:
        """The name in rows of text: a tab or a new line within it would be taken for the end of a field."""
        return "".join(repr(sign)[1:-1] if sign < " " or sign == "\x7f" else sign for sign in self.name)


def find_sources(arguments: Sequence[str]) -> list[Source]:
    """Return one source for every recording that the arguments name, in their order, each only once.

    A folder is searched with its subfolders, in the order of names, for `SUFFIXES`; hidden names are passed
    over, and its results keep the subfolders. A glob (`**`: any depth) is tried where no file has that name.

    Raises:
        OptionError: a folder or a glob holds no recording, a name is empty, or stdin is named twice.
    """
    if list(arguments).count("-") > 1:
        raise OptionError("'-' (stdin) is given more than once and can be read only once; give it once")
    found: dict[str, Path] = {}
    seen: set[str] = set()
    for argument in arguments:
        for given, output in _expand(argument):
            # a/b.wav and ./a/b.wav are one file.
            place = given if given == "-" or _ADDRESS.match(given) else os.path.abspath(given)
            if place not in seen:
                seen.add(place)
                found[given] = output
    return _with_own_outputs(found)


def _expand(argument: str) -> Iterator[tuple[str, Path]]:
    """Give what opens each recording and its wished-for output, which still has its suffix."""
    if not argument:
        raise OptionError("an empty name arrived; give a file, a folder, a glob, a URL, or - for stdin")
    if argument == "-":
        yield argument, Path("stdin")
    elif _ADDRESS.match(argument):
        yield argument, Path(Path(unquote(urlsplit(argument).path)).name or "url")
    elif os.path.isdir(argument):
        recordings = list(_recordings_in(argument))
        if not recordings:
            raise OptionError(
                f"the folder {argument!r} holds no recording; files with these endings are looked for: "
                f"{' '.join(sorted(SUFFIXES))}; name the file itself if it has another"
            )
        for path in recordings:
            yield path, Path(os.path.relpath(path, argument))
    elif not os.path.lexists(argument) and glob.has_magic(argument):
        paths = sorted(path for path in glob.glob(argument, recursive=True) if os.path.isfile(path))
        if not paths:
            raise OptionError(f"no file matches {argument!r}; look at the pattern and at the current folder")
        yield from ((path, Path(Path(path).name)) for path in paths)
    else:
        yield argument, Path(Path(argument).name)


def _recordings_in(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.join(parent, name)


def _with_own_outputs(found: dict[str, Path]) -> list[Source]:
    """Give every recording its own output: its stem; its whole name where stems clash; that and a number."""
    stems = Counter(_folded(output.with_suffix("")) for output in found.values())
    taken: set[str] = set()
    sources = []
    for given, output in found.items():
        wish = _short(output.with_suffix("") if stems[_folded(output.with_suffix(""))] == 1 else output)
        unique, number = wish, 1
        while _folded(unique) in taken:
            number += 1
            unique = wish.with_name(f"{wish.name}-{number}")
        taken.add(_folded(unique))
        sources.append(Source(given, unique))
    return sources


def _short(output: Path) -> Path:
    """Cut a name that endings would make too long for a file; a digest of the whole tells it from others."""
    name = os.fsencode(output.name)
    if len(name) <= _LONGEST:
        return output
    kept = name[:_CUT].decode("utf-8", errors="ignore")
    return output.with_name(f"{kept}-{hashlib.sha256(name).hexdigest()[:12]}")


def _folded(path: Path) -> str:
    # Some file systems hold A.txt and a.txt to be the same file.
    return str(path).casefold()
