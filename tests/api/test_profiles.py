"""Profiles over the API: compare, export, mark."""

from __future__ import annotations

import pytest

from models_app.models import RegisteredModel
from tests.api.conftest import Api
from tests.services.profiling.test_comparing import run_of
from tests.services.served import KEY, registered_model

pytestmark = pytest.mark.django_db


@pytest.fixture
def model() -> RegisteredModel:
    return registered_model()


def test_profiles_of_all_models_are_listed(admin: Api, model: RegisteredModel) -> None:
    mine, cut = run_of(model), run_of(registered_model("other"), complete=False)
    found = admin.get("/profiles").json()["profiles"]
    assert {one["id"] for one in found} == {str(mine.pk), str(cut.pk)}
    (only,) = admin.get(f"/profiles?model={KEY}&complete=true").json()["profiles"]
    assert (only["id"], only["state"]) == (str(mine.pk), "complete")


def test_two_runs_are_compared(admin: Api, model: RegisteredModel) -> None:
    before, after = run_of(model), run_of(model, factor=1.5, seed=2)
    body = admin.get(f"/profiles/compare?runs={before.pk},{after.pk}").json()
    assert [run["id"] for run in body["runs"]] == [str(before.pk), str(after.pk)]
    assert (body["tolerance"], body["comparisons"][0]["verdict"]) == (0.1, "worse")
    text = admin.get(f"/profiles/compare?runs={before.pk},{after.pk}&form=markdown")
    assert text["Content-Type"] == "text/markdown; charset=utf-8"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("runs=,", 400),
        (f"runs={KEY},{KEY}", 404),
        ("runs=a,b", 404),
        (f"runs={KEY}&tolerance=x", 404),
        ("runs=a,b&form=pdf", 400),
        ("run=a", 400),
    ],
)
def test_a_comparison_without_two_runs_is_refused(admin: Api, model: RegisteredModel, query: str, status: int) -> None:
    assert admin.get(f"/profiles/compare?{query}").status_code == status


@pytest.mark.parametrize("tolerance", ["-1", "11", "nan", "x"])
def test_a_tolerance_is_a_number(admin: Api, model: RegisteredModel, tolerance: str) -> None:
    runs = f"{run_of(model).pk},{run_of(model).pk}"
    answer = admin.get(f"/profiles/compare?runs={runs}&tolerance={tolerance}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tolerance")


@pytest.mark.parametrize(
    ("form", "kind"),
    [("csv", "text/csv"), ("markdown", "text/markdown"), ("json", "application/json")],
)
def test_a_profile_is_exported(admin: Api, model: RegisteredModel, form: str, kind: str) -> None:
    answer = admin.get(f"/profiles/{run_of(model).pk}/export?form={form}")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(kind)
    assert answer["Content-Disposition"].startswith("attachment;")


def test_a_baseline_is_marked(admin: Api, model: RegisteredModel) -> None:
    run = run_of(model)
    answer = admin.patch(f"/profiles/{run.pk}", {"baseline": True})
    assert (answer.status_code, answer.json()["baseline"]) == (200, True)
    answer = admin.patch(f"/profiles/{run.pk}", {})
    assert (answer.status_code, answer.json()["baseline"]) == (200, True), "it changes nothing"
    answer = admin.patch(f"/profiles/{run.pk}", {"baseline": False})
    assert (answer.status_code, answer.json()["baseline"]) == (200, False)


def test_a_route_gets_a_rule_to_move_by(admin: Api) -> None:
    path = "/routes/current/auto-switch"
    assert admin.get(path).json()["error"]["code"] == "auto_switch_not_found"
    answer = admin.put(path, {"enabled": True, "threshold": 0.3})
    assert answer.status_code == 200, answer.content
    assert (answer.json()["threshold"], answer.json()["cool_down_seconds"]) == (0.3, 1800)
    assert admin.get(f"{path}/preview").json()["reason"] == "no_present"
    assert admin.put(path, {"weights": {"speed": 1}}).status_code == 400
    assert admin.put(path, {"threshold": 0}).status_code == 400
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404
