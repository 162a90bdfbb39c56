"""The report of a discovery."""

from __future__ import annotations

from models_app.domain.catalog.discovery import ProviderReport
from models_app.domain.errors import ProviderError


def test_a_report_counts_what_it_lists() -> None:
    report = ProviderReport(found=9, new=["a"], changed=["b", "c"], gone=["d", "e", "f"], unchanged=5)
    report.refuse("x y", "Not a name.")
    report.refuse("", "Empty.")
    assert report.counts() == {"found": 9, "new": 1, "changed": 2, "gone": 3, "unchanged": 5, "refused": 2}
    assert report.sentence() == "9 found, 1 new, 2 changed, 3 gone, 5 unchanged, 2 refused"
    assert report.as_dict() == {
        "found": 9,
        "new": ["a"],
        "changed": ["b", "c"],
        "gone": ["d", "e", "f"],
        "unchanged": 5,
        "refused": [{"name": "x y", "reason": "Not a name."}, {"name": "", "reason": "Empty."}],
        "failed": None,
    }


def test_a_failure_has_the_error_and_no_models() -> None:
    report = ProviderReport.failure(ProviderError("It hangs.", code="provider_timeout"))
    assert report == ProviderReport(failed={"code": "provider_timeout", "message": "It hangs."})
