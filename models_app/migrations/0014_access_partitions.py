"""The access log by days: on PostgreSQL a table for each, so that a day is dropped and not deleted row by row.

On SQLite the table stays one. What is stored already stays, on both.
"""

from django.db import migrations, models

_TABLE = "models_app_accesslog"
_OLD = f"{_TABLE}_before_days"
_REBUILD = f"""
ALTER TABLE {_TABLE} RENAME TO {_OLD};
CREATE TABLE {_TABLE} (LIKE {_OLD} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (started_at);
CREATE SEQUENCE {_TABLE}_row_seq OWNED BY {_TABLE}.id;
SELECT setval('{_TABLE}_row_seq', (SELECT coalesce(max(id), 0) + 1 FROM {_OLD}), false);
ALTER TABLE {_TABLE} ALTER COLUMN id SET DEFAULT nextval('{_TABLE}_row_seq');
ALTER TABLE {_TABLE} ADD PRIMARY KEY (id, started_at);
ALTER TABLE {_TABLE} ADD CONSTRAINT one_row_per_request UNIQUE (request_id, started_at);
CREATE INDEX access_by_model ON {_TABLE} (model_key, id DESC);
CREATE INDEX access_by_key ON {_TABLE} (key_id, id DESC);
CREATE INDEX access_by_start ON {_TABLE} (started_at);
CREATE INDEX access_by_client_id ON {_TABLE} (client_request_id);
"""
_DAYS = f"SELECT DISTINCT (started_at AT TIME ZONE 'UTC')::date FROM {_OLD} ORDER BY 1"
_DAY = """
CREATE TABLE {table}_p{day:%Y%m%d} PARTITION OF {table}
FOR VALUES FROM ('{day:%Y-%m-%d} 00:00+00') TO ('{next:%Y-%m-%d} 00:00+00');
"""


def divide_into_days(apps, schema_editor):
    from datetime import timedelta

    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_REBUILD)
        cursor.execute(_DAYS)
        for (day,) in cursor.fetchall():
            cursor.execute(_DAY.format(table=_TABLE, day=day, next=day + timedelta(days=1)))
        cursor.execute(f"INSERT INTO {_TABLE} SELECT * FROM {_OLD}")
        cursor.execute(f"DROP TABLE {_OLD}")


class WithoutDays(migrations.SeparateDatabaseAndState):
    """Operations that the rebuilt table of PostgreSQL has had already."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)


_OPERATIONS = [
    migrations.AlterField(
        model_name="accesslog",
        name="model_key",
        field=models.CharField(blank=True, max_length=255),
    ),
    migrations.AlterField(
        model_name="accesslog",
        name="request_id",
        field=models.CharField(max_length=64),
    ),
    migrations.AddIndex(
        model_name="accesslog",
        index=models.Index(fields=["model_key", "-id"], name="access_by_model"),
    ),
    migrations.AddIndex(
        model_name="accesslog",
        index=models.Index(fields=["key_id", "-id"], name="access_by_key"),
    ),
    migrations.AddConstraint(
        model_name="accesslog",
        constraint=models.UniqueConstraint(
            fields=("request_id", "started_at"), name="one_row_per_request"
        ),
    ),
]


class Migration(migrations.Migration):

    dependencies = [
        ('models_app', '0013_admission'),
    ]

    operations = [
        migrations.RunPython(divide_into_days),
        WithoutDays(database_operations=_OPERATIONS, state_operations=_OPERATIONS),
    ]
