"""Hot words: names and terms that a beam search should prefer, as a trie over their letters.

While a word is being spelled it earns its share of the weight, so that the beam does not lose it before its
end; if it is not completed, the share is taken back.

The weight is that of a word of `WHOLE_LETTERS` or more. A shorter one earns in proportion, so that no letter
earns more than another: with one weight for all, two or three letters would be cheaper to make up than to leave
out, and a hot word such as "the" would fill every pause.
"""

from __future__ import annotations

from collections.abc import Iterable

from auricle.errors import OptionError

WHOLE_LETTERS = 7


class _Node:
    __slots__ = ("children", "depth", "is_end", "shortest")

    def __init__(self, depth: int) -> None:
        self.children: dict[str, _Node] = {}
        self.is_end = False
        self.depth = depth
        self.shortest = 0  # letters of the shortest phrase that passes here


class Spelling:
    """Where a text stands in the trie; immutable.

    `earned` is for good, `share` is the credit for the most complete of the `open` phrases.
    """

    __slots__ = ("earned", "open", "share")

    def __init__(self, earned: float, open: tuple[_Node, ...], share: float) -> None:
        self.earned = earned
        self.open = open
        self.share = share


class HotWords:
    """Follows texts letter by letter, ignoring case."""

    def __init__(self, phrases: Iterable[str], weight: float, spaced: bool = True) -> None:
        """Take words or phrases and the weight (natural log) that each whole occurrence earns.

        In a `spaced` script phrases start and end at word boundaries; in others they count anywhere, and earn
        the weight whatever their length, since a sign is a syllable or a word.

        Raises: OptionError for an empty phrase.
        """
        self.weight = weight
        self.spaced = spaced
        self._whole = WHOLE_LETTERS if spaced else 1
        self._root = _Node(0)
        for phrase in phrases:
            letters = " ".join(phrase.casefold().split())
            if not letters:
                raise OptionError(f"hotwords holds {phrase!r}, which has no letters; remove it")
            node = self._root
            for depth, letter in enumerate(letters, start=1):
                node = node.children.setdefault(letter, _Node(depth))
                node.shortest = min(node.shortest or len(letters), len(letters))
            node.is_end = True

    def start(self) -> Spelling:
        """Return the state before the first word."""
        return Spelling(0.0, (self._root,), 0.0)

    def add(self, state: Spelling, text: str) -> Spelling:
        """Follow one more piece of text; repeated spaces count as one."""
        earned, nodes = state.earned, state.open
        for letter in text.casefold():
            at_boundary = bool(nodes) and nodes[-1] is self._root
            if letter == " " and at_boundary and self.spaced:
                continue
            if letter == " " and self.spaced:
                earned += self._completed(nodes)
            nodes = tuple(node.children[letter] for node in nodes if letter in node.children)
            if not self.spaced:
                earned += self._completed(nodes)
            if letter == " " or not self.spaced:
                nodes = (*nodes, self._root)
        # Without spaces a completed phrase has been paid already, and has no share besides.
        open_nodes = [node for node in nodes if node.depth and (self.spaced or not node.is_end)]
        share = max((node.depth / max(node.shortest, self._whole) for node in open_nodes), default=0.0)
        return Spelling(earned, nodes, self.weight * share)

    def finish(self, state: Spelling) -> float:
        """Return what the whole text has earned: its last word is closed, unfinished phrases give nothing."""
        return self.add(state, " ").earned if self.spaced else state.earned

    def _completed(self, nodes: tuple[_Node, ...]) -> float:
        return sum(self.weight * min(1.0, node.depth / self._whole) for node in nodes if node.is_end)
