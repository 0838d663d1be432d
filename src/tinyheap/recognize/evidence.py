"""How facts were found, collected while they are looked for: two ways that agree make one certain."""

from __future__ import annotations

from collections import defaultdict

from tinyheap.recognize.facts import Confidence, Evidence


class Notes:
    """The ways in which each fact was found, collected."""

    def __init__(self) -> None:
        self._ways: dict[str, list[str]] = defaultdict(list)
        self._unconfirmed: dict[str, list[str]] = defaultdict(list)
        self._doubts: dict[str, list[str]] = defaultdict(list)

    def copy(self) -> Notes:
        """The same notes, to go on with in an attempt that may come to nothing."""
        copied = Notes()
        for own, others in zip(self._lists(), copied._lists(), strict=True):
            for fact, phrases in own.items():
                others[fact] += phrases
        return copied

    def found(self, fact: str, how: str) -> None:
        """One way that led to a fact."""
        if how not in self._ways[fact]:
            self._ways[fact].append(how)

    def doubt(self, fact: str, why: str) -> None:
        """What speaks against a fact: something else may be it just as well."""
        self._doubts[fact].append(why)

    def check(self, fact: str, agrees: bool, how: str) -> None:
        """A second way, which agrees or not."""
        if agrees:
            self.found(fact, how)
        else:
            self._unconfirmed[fact].append(f"but not: {how}")

    def evidence(self) -> dict[str, Evidence]:
        """All of it, by fact."""
        facts = dict.fromkeys(fact for phrases in self._lists() for fact in phrases)
        return {fact: self._evidence(*(phrases.get(fact, []) for phrases in self._lists())) for fact in facts}

    def _lists(self) -> tuple[dict[str, list[str]], ...]:
        return self._ways, self._unconfirmed, self._doubts

    @staticmethod
    def _evidence(ways: list[str], unconfirmed: list[str], doubts: list[str]) -> Evidence:
        against = [*unconfirmed, *doubts]
        is_certain = len(ways) > 1 and not against
        confidence = Confidence.CERTAIN if is_certain else Confidence.LIKELY if ways else Confidence.UNKNOWN
        return Evidence(confidence, (*ways, *against), tuple(doubts))
