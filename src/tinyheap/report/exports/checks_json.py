"""A run held against a budget as JSON, for other programs.

Keys that stay: ``subject`` (the module), ``passed``, ``failure`` (why the run itself did not pass; null where it did), and
``checks``, a list in the order of the budget.  Of each check: ``quantity`` (its key in the budget), ``unit`` (``bytes``,
``count`` or ``ns``), ``measured`` (null where it is not known), ``precision`` (``at most``, ``about`` or empty), ``most`` (what
is allowed), ``baseline`` (the value that it is a percentage of; null where it is none), ``verdict`` (``within``, ``over`` or
``unknown``), ``excess`` (by how much it is over; null where it is not), ``unknown`` (why the verdict is), and ``sites``, the
heaviest first: ``function``, ``file`` and ``line`` (null where they are not known), ``code_offset``, ``amount`` and ``share``.
``sites_are`` says what these amounts are, in ``sites_unit``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinyheap.json_of import json_of

if TYPE_CHECKING:
    from tinyheap.budgets.checking import Check, Checks
    from tinyheap.budgets.measuring import SiteShare


def checks_json(checks: Checks) -> dict[str, Any]:
    """The result, as values that `json.dumps` takes."""
    return {
        "subject": checks.subject,
        "passed": checks.passed,
        "failure": checks.failure,
        "checks": [_check(each) for each in checks.checks],
    }


def _check(check: Check) -> dict[str, Any]:
    measurement = check.measurement
    found = {
        "quantity": measurement.quantity,
        "unit": measurement.quantity.unit,
        "measured": measurement.value,
        "precision": measurement.precision,
        "most": check.most,
        "baseline": None if check.baseline is None else check.baseline.value,
        "verdict": check.verdict,
        "excess": check.excess,
        "unknown": check.unknown,
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
