"""A migration runs beside the previous version: it can add, and the old version's inserts must still work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from django.db import models
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration

from tests.markdown import ROOT

# The newest migration of the first release; those up to it never ran beside another version. None before that release.
NEWEST_OF_FIRST_RELEASE: str | None = "0020_texts"
ADDING = (
    operations.CreateModel,
    operations.AddField,
    operations.AlterField,
    operations.AddIndex,
    operations.AlterModelOptions,
    operations.RunPython,
)


def refusals(migration: Migration) -> Iterator[str]:
    """The operations that would break the previous version, as sentences."""
    for one in migration.operations:
        if isinstance(one, operations.AddField | operations.AlterField):
            field: Any = one.field
            # Django drops a Python default from the database right after it has added the column.
            # Choices are not in the database.
            only_choices = isinstance(one, operations.AlterField) and bool(field.choices)
            if not (field.null or field.has_db_default() or field.many_to_many or only_choices):
                yield f"{one.describe()}: give it null=True or a db_default"
        elif not isinstance(one, ADDING):
            yield f"{one.describe()}: the previous version may still need it; do it one version later"


def of(*done: operations.base.Operation) -> Migration:
    migration: Any = Migration("0099_example", "models_app")
    migration.operations = list(done)
    return cast(Migration, migration)


@pytest.mark.parametrize(
    ("done", "refused"),
    [
        (operations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True))]), False),
        (operations.AddField("Job", "note", models.TextField(null=True)), False),
        (operations.AddField("Job", "note", models.TextField(db_default="")), False),
        (operations.AddField("Job", "note", models.TextField(default="")), True),
        (operations.RemoveField("Job", "actor"), True),
        (operations.RenameField("Job", "actor", "who"), True),
        (operations.DeleteModel("Job"), True),
    ],
    ids=lambda value: value.describe() if isinstance(value, operations.base.Operation) else "",
)
def test_the_rule_knows_what_the_version_before_breaks_on(done: operations.base.Operation, refused: bool) -> None:
    assert bool(list(refusals(of(done)))) == refused


def test_every_migration_since_the_first_release_keeps_the_rule() -> None:
    is_released = re.search(r"^## \[?\d", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert bool(is_released) == bool(NEWEST_OF_FIRST_RELEASE), "Name the release's newest migration."
    loaded = MigrationLoader(None)
    assert loaded.disk_migrations
    broken = {
        name: list(refusals(migration))
        for (app, name), migration in loaded.disk_migrations.items()
        if app == "models_app" and NEWEST_OF_FIRST_RELEASE and name > NEWEST_OF_FIRST_RELEASE
    }
    assert {name: found for name, found in broken.items() if found} == {}
