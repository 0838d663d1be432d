"""How the objects of an allocation site follow each other: do they become larger, and what of them is kept?

Of a site's objects, in the order of their births, two things are said.

*Sizes.*  They are all the *same*; each is *larger* than the one before; each is *no smaller*, and the last is larger than the
first; or none of this: they are *mixed*.

*Kept.*  Judged are the objects that there was a chance to see dead: those born before the last collection began; where
deaths are inferred, or nothing is ever freed, all.  Of them *all* live, *none* does, only the *last* does, *most* do, which is
three of four, or *some*.  Where only the last lives and sizes grow, it is one object that the next replaces; garbage of which
the newest piece was in use looks the same but for its sizes.  Beside the last one another may live, where `FEWEST` or more are
judged: the one that was being replaced when the collection came, or that a conservative collector kept for a stray word.
Where deaths are inferred, what lives is an upper bound, and so is what is kept; *last* and *none* are certain even so.

A trend is *telling* if it is of `FEWEST` objects or more, which rarely have it by chance, and either the sizes grow to
`MATERIAL` times the first or more, or all or most of them are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from tinyheap.profile.census import SITES, take_census
from tinyheap.profile.result import rows
from tinyheap.recordings.observed import Lives
from tinyheap.results import Result

if TYPE_CHECKING:
    from tinyheap.recordings.recording import Recording

FEWEST: Final = 6
"""Six values are in ascending order by chance once in 720 times."""
MATERIAL: Final = 2
"""Texts that hold a counter become longer, too, by a digit now and then."""


class Sizes(Enum):
    """How sizes follow each other."""

    SAME = "same"
    LARGER = "larger"
    NO_SMALLER = "no smaller"
    MIXED = "mixed"


class Kept(Enum):
    """What of a site's objects is kept."""

    ALL = "all"
    LAST = "last"
    MOST = "most"
    SOME = "some"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Trend(Result):
    """How the objects of a site follow each other."""

    objects: int
    sizes: Sizes
    least_bytes: int
    most_bytes: int
    judged: int
    """Objects that there was a chance to see dead."""
    living: int | None
    """Of these, those that live; at most, where deaths were inferred; None where nothing is known of them."""
    kept: Kept | None
    """None where nothing is known, or no object was judged."""
    is_upper_bound: bool
    """Whether fewer may be kept, since deaths were inferred."""
    is_sampled: bool = False
    """Whether it is of those objects only that a sample has."""

    @property
    def is_telling(self) -> bool:
        """Whether it says more than chance would."""
        grows = self.sizes in (Sizes.LARGER, Sizes.NO_SMALLER) and self.most_bytes >= MATERIAL * self.least_bytes
        is_kept = self.kept in (Kept.ALL, Kept.MOST) and self.judged >= FEWEST
        return self.objects >= FEWEST and (grows or is_kept)

    @property
    def explanation(self) -> str:
        """The trend in a phrase."""
        return f"of those sampled: {self._phrase}" if self.is_sampled else self._phrase

    @property
    def _phrase(self) -> str:
        if self.objects == 1:
            return f"one object of {self.least_bytes:,} bytes"
        if self.kept is Kept.LAST and self.sizes in _REPLACED:
            return f"one object, always replaced by {_REPLACED[self.sizes]}{self._range}"
        sizes = f"{_FOLLOWING[self.sizes]}{self._range}"
        if self.kept is None:
            return f"{self.objects:,} objects{sizes}"
        if self.kept is Kept.ALL and self.judged > 1 and not self.is_upper_bound:
            return f"all {self.judged:,} kept{sizes}"
        if self.kept is Kept.NONE:
            return f"none of {self.judged:,} kept{sizes}"
        if self.kept is Kept.LAST:
            return f"only the last of {self.judged:,} kept{sizes}"
        most = "at most " if self.is_upper_bound else ""
        return f"{most}{self.living:,} of {self.judged:,} kept{sizes}"

    @property
    def _range(self) -> str:
        if self.sizes is Sizes.SAME:
            return f" of {self.least_bytes:,} bytes"
        return f", {self.least_bytes:,} to {self.most_bytes:,} bytes"


_REPLACED: Final = {
    Sizes.LARGER: "a larger one",
    Sizes.NO_SMALLER: "one that is no smaller",
}
_FOLLOWING: Final = {
    Sizes.SAME: ", each",
    Sizes.LARGER: ", each larger than the one before",
    Sizes.NO_SMALLER: ", none smaller than the one before",
    Sizes.MIXED: "",
}
_TRENDS: Final = f"""
WITH placed AS (
    SELECT
        frame_id, id, size_bytes, death_ns IS NOT NULL AS is_dead,
        $judges_all OR birth_event_id <= (SELECT max(last_event_id) FROM collections) AS is_judged,
        lag(size_bytes) OVER (PARTITION BY frame_id ORDER BY id) AS before_bytes
    FROM objects JOIN {SITES} USING (stack_id) WHERE $frame_ids IS NULL OR list_contains($frame_ids, frame_id)
)
SELECT
    frame_id,
    count(*),
    bool_and(before_bytes IS NULL OR size_bytes = before_bytes),
    bool_and(before_bytes IS NULL OR size_bytes > before_bytes),
    bool_and(before_bytes IS NULL OR size_bytes >= before_bytes),
    min(size_bytes),
    max(size_bytes),
    count(*) FILTER (is_judged),
    count(*) FILTER (is_judged AND NOT is_dead),
    coalesce(max(id) FILTER (is_judged) = max(id) FILTER (is_judged AND NOT is_dead), false)
FROM placed GROUP BY frame_id
"""


def trends(recording: Recording) -> dict[int, Trend]:
    """The trend of each allocation site, by the id of its frame."""
    take_census(recording)
    return trends_of(recording, None)


def trends_of(recording: Recording, frame_ids: list[int] | None) -> dict[int, Trend]:
    """The trends of these sites, or of all; the table `SITES` is there."""
    lives = recording.run.observed.lives
    judges_all = lives is Lives.AT_MOST or recording.run.never_frees
    found = rows(recording, _TRENDS, {"judges_all": judges_all, "frame_ids": frame_ids})
    is_sampled = recording.run.sample_bytes is not None
    return {frame_id: replace(_trend(lives, *values), is_sampled=is_sampled) for frame_id, *values in found}


def _trend(
    lives: Lives,
    objects: int,
    is_same: bool,
    is_larger: bool,
    is_no_smaller: bool,
    least_bytes: int,
    most_bytes: int,
    judged: int,
    living: int,
    lives_last: bool,
) -> Trend:
    sizes = Sizes.MIXED
    for kind, holds in ((Sizes.SAME, is_same), (Sizes.LARGER, is_larger), (Sizes.NO_SMALLER, is_no_smaller)):
        if holds:
            sizes = kind
            break
    if lives is Lives.UNKNOWN:
        return Trend(objects, sizes, least_bytes, most_bytes, 0, None, None, is_upper_bound=False)
    kept = _kept(judged, living, lives_last)
    return Trend(objects, sizes, least_bytes, most_bytes, judged, living, kept, lives is Lives.AT_MOST)


def _kept(judged: int, living: int, lives_last: bool) -> Kept | None:
    if judged == 0:
        return None
    if living == 0:
        return Kept.NONE
    if living == judged:
        return Kept.ALL
    most = 2 if judged >= FEWEST else 1
    if lives_last and living <= most:
        return Kept.LAST
    return Kept.MOST if 4 * living >= 3 * judged and judged >= FEWEST else Kept.SOME
