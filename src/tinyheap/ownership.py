"""Who owns memory, a file or a running program owns it alone."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex


class SoleOwner:
    """Base of what owns something that cannot be had twice, so that neither `copy` nor `pickle` applies to it."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse all three of `copy.copy`, `copy.deepcopy` and `pickle`.

        Raises:
            TypeError: always.
        """
        name = type(self).__name__
        raise TypeError(
            f"cannot copy or pickle a {name}: it owns memory, a file or a program, which cannot have two owners"
        )
