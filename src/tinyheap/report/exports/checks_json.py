"""A run held against a budget as JSON, for other programs.

Keys that stay: ``subject`` (the module), ``passed``, ``failure`` (why the run itself did not pass; null where it did),
``after_calls`` (how many calls came before those that garbage and growth per call are of), ``checks``, a list in the order of
the budget, and ``others``, the quantities that the budget does not limit.

Of each in both lists: ``quantity`` (its key in the budget), ``unit`` (``bytes``, ``count`` or ``ns``), ``measured`` (null where
it is not known), ``precision`` (``at most``, ``about`` or empty), ``unknown`` (why nothing was measured), and ``sites``, the
heaviest first: ``function``, ``file`` and ``line`` (null where they are not known), ``code_offset``, ``amount`` and ``share``.
``sites_are`` says what these amounts are, in ``sites_unit``.

Of a check besides: ``most`` (what is allowed), ``baseline`` (the value that it is a percentage of; null where it is none),
``verdict`` (``within``, ``over`` or ``unknown``) and ``excess`` (by how much it is over; null where it is not); ``unknown`` may
be the baseline's.  `tinyheap.budgets.KeptMeasurements` reads the whole again, as the baseline of another run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyheap.json_of import json_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinyheap.budgets.checking import Check, Checks
    from tinyheap.budgets.measuring import Measurement, SiteShare


def checks_json(checks: Checks, others: Iterable[Measurement] = ()) -> dict[str, Any]:
    """The result, as values that `json.dumps` takes.

    Args:
        checks: What was held against the budget.
        others: Of the same run, what the budget does not limit.
    """
    return {
        "subject": checks.subject,
        "passed": checks.passed,
        "failure": checks.failure,
        "after_calls": checks.after,
        "checks": [_check(each) for each in checks.checks],
        "others": [_measured(each) for each in others],
    }


def _check(check: Check) -> dict[str, Any]:
    found = {
        "most": check.most,
        "baseline": None if check.baseline is None else check.baseline.value,
        "verdict": check.verdict,
        "excess": check.excess,
        "unknown": check.unknown,
    }
    return _measured(check.measurement) | {name: json_of(value) for name, value in found.items()}


def _measured(measurement: Measurement) -> dict[str, Any]:
    found = {
        "quantity": measurement.quantity,
        "unit": measurement.quantity.unit,
        "measured": measurement.value,
        "precision": measurement.precision,
        "unknown": measurement.unknown,
        "sites": [_site(each) for each in measurement.sites],
        "sites_are": measurement.sites_are,
        "sites_unit": measurement.sites_unit,
    }
    return {name: json_of(value) for name, value in found.items()}


def _site(share: SiteShare) -> dict[str, Any]:
    site = share.site
    return {
        "function": site.function,
        "file": site.file,
        "line": site.line,
        "code_offset": site.code_offset,
        "amount": share.amount,
        "share": share.share,
    }
