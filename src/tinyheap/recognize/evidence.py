"""How facts were found, collected while they are looked for: two ways that agree make one certain."""

from __future__ import annotations

from collections import defaultdict

from tinyheap.recognize.facts import Confidence, Evidence


class Notes:
    """The ways in which each fact was found, collected."""

    def __init__(self) -> None:
        self._ways: dict[str, list[str]] = defaultdict(list)
        self._doubts: dict[str, list[str]] = defaultdict(list)

    def copy(self) -> Notes:
        """The same notes, to go on with in an attempt that may come to nothing."""
        copied = Notes()
        for fact, ways in self._ways.items():
            copied._ways[fact] += ways
        for fact, doubts in self._doubts.items():
            copied._doubts[fact] += doubts
        return copied

    def found(self, fact: str, how: str) -> None:
        """One way that led to a fact."""
        if how not in self._ways[fact]:
            self._ways[fact].append(how)

    def doubt(self, fact: str, why: str) -> None:
        """What speaks against a fact."""
        self._doubts[fact].append(why)

    def check(self, fact: str, agrees: bool, how: str) -> None:
        """A second way, which agrees or not."""
        if agrees:
            self.found(fact, how)
        else:
            self.doubt(fact, f"but not: {how}")

    def evidence(self) -> dict[str, Evidence]:
        """All of it, by fact."""
        result = {}
        for fact in [*self._ways, *(fact for fact in self._doubts if fact not in self._ways)]:
            ways, doubts = self._ways.get(fact, []), self._doubts.get(fact, [])
            confidence = (
                Confidence.UNKNOWN
                if not ways
                else Confidence.CERTAIN
                if len(ways) > 1 and not doubts
                else Confidence.LIKELY
            )
            result[fact] = Evidence(confidence, (*ways, *doubts))
        return result
