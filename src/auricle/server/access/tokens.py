"""The server's tokens: made and revoked on the command line, looked up for each request.

A token reads ``aur_<id>_<secret>``: 12 hexadecimal digits that may be shown, and 256 random bits that may not. Of it
only the SHA-256 is kept. A slow hash, as passwords need one, would add nothing: nobody can try 2**256 secrets.

Every call opens the file anew (0.2 ms), so that a running server sees at once what another process has changed, even
that the file was replaced.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import shlex
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import AuricleError, OptionError, nearest
from auricle.server.access.principal import SCOPES

_log = logging.getLogger(__name__)

FILE_NAME = "tokens.sqlite3"
PREFIX = "aur_"
# What a token looks like: the id is 6 random bytes, the secret 32.
PATTERN = re.compile(r"aur_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_ID = re.compile(r"[0-9a-f]{12}")
_NAME_LENGTH = 64
_BUSY_S = 5.0  # how long to wait for another process that is writing
_USE_NOTED_EVERY_S = 60.0
_COLUMNS = "id, name, scopes, created, expires, last_used, revoked"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL, scopes TEXT NOT NULL,
    created REAL NOT NULL, expires REAL, last_used REAL, revoked REAL);
CREATE UNIQUE INDEX IF NOT EXISTS names ON tokens (name) WHERE revoked IS NULL;
"""


@dataclass(frozen=True)
class Token:
    """What is known of a token beside its secret; times are seconds since 1970."""

    id: str
    name: str
    scopes: frozenset[str]
    created: float
    expires: float | None
    last_used: float | None  # exact to a minute
    revoked: float | None

    def state(self, now: float) -> str:
        """Return "active", "expired" or "revoked"."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "active"


class TokenStore:
    """The tokens of one data folder; the file is made with the first token, for its owner alone.

    Threads and processes may use the same file at once.
    """

    def __init__(self, data_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = data_dir / FILE_NAME
        self._clock = clock

    def create(self, name: str, scopes: Collection[str], lifetime: float | None = None) -> tuple[str, Token]:
        """Make a token that is valid for `lifetime` seconds, or until it is revoked, and return it with its record.

        This is the only time that the whole token is to be had.

        Raises:
            OptionError: the name or a scope is no good, or a token of this name is there and not revoked.
        """
        _check_new(name, scopes, lifetime)
        identity = secrets.token_hex(6)
        text = f"{PREFIX}{identity}_{secrets.token_urlsafe(32)}"
        now = self._clock()
        expires = None if lifetime is None else now + lifetime
        row = (identity, name, _digest(text), " ".join(sorted(scopes)), now, expires)
        with self._writing() as database:
            if database.execute("SELECT 1 FROM tokens WHERE name = ? AND revoked IS NULL", (name,)).fetchone():
                raise OptionError(
                    f"a token named {name!r} is there already; choose another name, or revoke it with "
                    f"`auricle token revoke {shlex.quote(name)}`"
                )
            database.execute(
                "INSERT INTO tokens (id, name, digest, scopes, created, expires) VALUES (?, ?, ?, ?, ?, ?)", row
            )
        return text, Token(identity, name, frozenset(scopes), now, expires, None, None)

    def tokens(self) -> list[Token]:
        """Return every token that was made, the oldest first."""
        with self._reading() as database:
            if database is None:
                return []
            return [_token(row) for row in database.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY created, id")]

    def has_active(self) -> bool:
        """Say whether any token would be accepted now."""
        now = self._clock()
        return any(token.state(now) == "active" for token in self.tokens())

    def revoke(self, handle: str) -> Token:
        """End a token at once, named by its id, its name, or itself; return what it is now.

        Raises:
            OptionError: no token that is not revoked has this name or id.
        """
        whole = PATTERN.fullmatch(handle)
        wanted = whole[1] if whole else handle.removeprefix(PREFIX)
        known = [token for token in self.tokens() if token.revoked is None]
        found = [token for token in known if wanted == token.id or handle == token.name]
        if not found:
            hint = nearest(handle, [token.name for token in known])
            shown = "of this id" if whole else repr(handle)
            raise OptionError(f"no token {shown} is in use{hint}; `auricle token list` shows those that are")
        with self._writing() as database:
            now = self._clock()
            database.execute("UPDATE tokens SET revoked = ? WHERE id = ? AND revoked IS NULL", (now, found[0].id))
        return next(token for token in self.tokens() if token.id == found[0].id)

    def find(self, text: str) -> Token | None:
        """Return the record of a token, whatever its state, or None if it was not made here.

        The use is noted, at most once a minute.
        """
        form = PATTERN.fullmatch(text)
        if form is None:
            return None
        with self._reading() as database:
            query = f"SELECT {_COLUMNS}, digest FROM tokens WHERE id = ?"
            row = None if database is None else database.execute(query, (form[1],)).fetchone()
        # The id is public; of the secret, the time that this takes tells nothing.
        if row is None or not hmac.compare_digest(row[-1], _digest(text)):
            return None
        token = _token(row[:-1])
        now = self._clock()
        if token.state(now) == "active" and (token.last_used or 0.0) <= now - _USE_NOTED_EVERY_S:
            self._note_use(token, now)
        return token

    def _note_use(self, token: Token, now: float) -> None:
        try:
            with self._writing() as database:
                database.execute("UPDATE tokens SET last_used = ? WHERE id = ?", (now, token.id))
        except AuricleError as error:  # a full disk is no reason to lock the holder out
            _log.warning("the use of the token %s was not noted: %s", token.id, error)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open the file, or give None where there is none."""
        if not self.path.exists():
            yield None
            return
        with _told(self.path), closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as database:
            yield database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open the file, made if need be, for one transaction."""
        self._make()
        with _told(self.path), closing(sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def _make(self) -> None:
        """Make the file and its folder so that no other user can read them."""
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return
        # An administrator makes tokens for a service that runs as another user.
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            owner = folder.stat()
            os.chown(self.path, owner.st_uid, owner.st_gid)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say which file it is that the database complains of."""
    try:
        yield
    except sqlite3.Error as error:
        raise AuricleError(
            f"the tokens in {path} cannot be used: {error}; see that the file and its folder can be read and written "
            "by this user, and that it is no other file"
        ) from error


def _check_new(name: str, scopes: Collection[str], lifetime: float | None) -> None:
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= _NAME_LENGTH:
        raise OptionError(f"the name {name!r} will not do; give 1 to {_NAME_LENGTH} printable characters")
    if _ID.fullmatch(name) or name.startswith(PREFIX):
        raise OptionError(f"the name {name!r} reads like a token's id; give one that tells who will use the token")
    for scope in scopes:
        if scope not in SCOPES:
            raise OptionError(f"unknown scope {scope!r}{nearest(scope, SCOPES)}; there are {', '.join(SCOPES)}")
    if not scopes:
        raise OptionError(f"a token needs a scope; there are {', '.join(SCOPES)}")
    if lifetime is not None and not lifetime > 0:
        raise OptionError(f"a token that expires after {lifetime:g} s is of no use; give more than 0")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _token(row: tuple[str, str, str, float, float | None, float | None, float | None]) -> Token:
    identity, name, scopes, *times = row
    created, expires, last_used, revoked = times
    assert created is not None
    return Token(identity, name, frozenset(scopes.split()), created, expires, last_used, revoked)
