"""Who is asking, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

INFER = "infer"  # ask models, make jobs, read what is served
MANAGE = "manage"  # load and unload models, whatever is below /admin
SCOPES = (INFER, MANAGE)


@dataclass(frozen=True)
class Principal:
    """Whoever sent a request: the holder of a token, or anybody."""

    id: str  # of the token; "anonymous" without one
    name: str
    scopes: frozenset[str]

    @property
    def is_anonymous(self) -> bool:
        """Whether no token of this server came with the request."""
        return self.id == "anonymous"


# Where no token is required, whoever reaches the server may do all.
ANYBODY = Principal("anonymous", "anonymous", frozenset(SCOPES))
# Where one is required, whoever comes without sees the open routes alone.
NOBODY = Principal("anonymous", "anonymous", frozenset())
