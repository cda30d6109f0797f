"""A token that arrived, and what it allows; each refusal says which of the six things is wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.types import Scope

from auricle.server.access.principal import ANYBODY, NOBODY, Principal
from auricle.server.access.tokens import PATTERN, Token, TokenStore
from auricle.server.errors import Refused

# "Bearer x", and "Bearer: x" as old documents of Hugging Face have it.
_BEARER = re.compile(r"\s*bearer(?:\s*:\s*|\s+|$)", re.IGNORECASE)
# How OpenAI's JavaScript client sends a key from a browser, where a websocket can have no headers.
OPENAI_PROTOCOL = "openai-insecure-api-key."
_MAKE = "whoever runs this server makes one with `auricle token create --name NAME`"


class Access:
    """Decides what the sender of a request may do.

    Where tokens are not required, whatever else stands in the header is ignored: people's scripts send tokens of the
    Hub. A valid token of this server has its own name, scopes and rate there, too.
    """

    def __init__(self, store: TokenStore, *, is_required: bool, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.is_required = is_required
        self._clock = clock

    @property
    def stranger(self) -> Principal:
        """Who comes without a token."""
        return NOBODY if self.is_required else ANYBODY

    def authorize(self, text: str | None, needed: str) -> Principal:
        """Return who sent a token, or nothing, if they may do what takes the scope `needed`; this reads a file.

        Raises:
            Refused: 401 for a token that is missing, malformed, unknown, expired or revoked, 403 for one without
                the scope.
        """
        principal = self._identify(text)
        if needed not in principal.scopes:
            raise self._refuse_scope(principal, needed)
        return principal

    def _identify(self, text: str | None) -> Principal:
        is_ours = text is not None and PATTERN.fullmatch(text) is not None
        if not is_ours and not self.is_required:
            return ANYBODY
        if not text:
            raise _refuse(
                "missing",
                f"this server requires a token and none arrived; send 'Authorization: Bearer aur_...'; {_MAKE}",
            )
        if not is_ours:
            raise _refuse("malformed", _malformed(text))
        token = self.store.find(text)
        problem = "unknown" if token is None else token.state(self._clock())
        if token is not None and problem == "active":
            return Principal(token.id, token.name, token.scopes)
        if not self.is_required:
            return ANYBODY
        raise _refuse(problem, _invalid(token, problem))

    @staticmethod
    def _refuse_scope(principal: Principal, needed: str) -> Refused:
        held = " and ".join(sorted(principal.scopes))
        return Refused(
            403,
            f"the token {principal.name!r} has the scope {held}, and this takes {needed}; make one with "
            f"`auricle token create --name NAME --scope {needed}`",
            code="scope_missing",
            headers={"www-authenticate": f'Bearer realm="auricle", error="insufficient_scope", scope="{needed}"'},
        )


def take_token(scope: Scope) -> str | None:
    """Return the token that came with a request, without its scheme; None if there is none.

    A websocket may also bring it as ``?token=`` or as OpenAI's subprotocol, for browsers let no page set its headers.
    The former is taken out of the query, so that it gets into no log.
    """
    headers = Headers(scope=scope)
    authorization = headers.get("authorization")
    in_query = _take_from_query(scope) if scope["type"] == "websocket" else None
    if authorization is not None:
        return _BEARER.sub("", authorization, count=1).strip() or None
    if in_query:
        return in_query
    if scope["type"] == "websocket":
        for offered in scope.get("subprotocols", ()):
            if offered.startswith(OPENAI_PROTOCOL):
                return str(offered.removeprefix(OPENAI_PROTOCOL))
    return None


def _take_from_query(scope: Scope) -> str | None:
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    tokens = [value for key, value in pairs if key == "token"]
    if tokens:
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        scope["query_string"] = rest.encode("ascii")
    return tokens[0].strip() if tokens else None


def _refuse(problem: str, message: str) -> Refused:
    # RFC 6750: a request without a token is told of no error.
    error = "" if problem == "missing" else ', error="invalid_token"'
    return Refused(
        401, message, code=f"token_{problem}", headers={"www-authenticate": f'Bearer realm="auricle"{error}'}
    )


def _malformed(text: str) -> str:
    got = f"of length {len(text)}"
    if text.startswith("hf_"):
        got = "a token of Hugging Face, which is of no use here and should be kept secret"
    elif text.startswith("sk-"):
        got = "a key of OpenAI, which is of no use here and should be kept secret"
    elif text.startswith("aur_"):
        got = f"of length {len(text)}, so see that it was copied whole"
    return f"malformed token: a token of this server is 'aur_' and 56 characters more, this is {got}; {_MAKE}"


def _invalid(token: Token | None, problem: str) -> str:
    if token is None:
        return f"invalid token: it has the right form, and this server did not make it; {_MAKE}"
    at = token.expires if problem == "expired" else token.revoked
    when = datetime.fromtimestamp(at or 0.0, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"the token {token.name!r} {'expired' if problem == 'expired' else 'was revoked'} at {when}; {_MAKE}"
