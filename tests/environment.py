"""A pytest plugin that is loaded before Django reads its settings: tests never touch a server's data.

With `NOA_TEST_DATABASE=postgres` the tests run on a PostgreSQL and with a Redis of their own (tests/servers), which end
with the run; without it, on SQLite.
"""

from __future__ import annotations

import atexit
import os
import tempfile

_folder = tempfile.TemporaryDirectory(prefix="noa-test-")
atexit.register(_folder.cleanup)


def _servers() -> dict[str, str]:
    """The addresses of this run's servers, which its first process passes to the others in the environment."""
    if os.environ.get("NOA_TEST_DATABASE", "sqlite") == "sqlite":
        return {}
    if "PYTEST_XDIST_WORKER" in os.environ:
        return {name: os.environ[name] for name in ("DATABASE_URL", "NOA_TEST_REDIS_URL")}
    # Imported late: most runs need neither.
    from tests.servers.postgres import PostgresServer
    from tests.servers.redis import RedisServer

    postgres, redis = PostgresServer().start(), RedisServer().start()
    atexit.register(redis.stop)
    atexit.register(postgres.stop)
    return {"DATABASE_URL": postgres.url("noa"), "NOA_TEST_REDIS_URL": redis.url()}


_kept = {"NOA_DATA_DIR": _folder.name} | _servers()
if _kept.keys() - {"NOA_DATA_DIR"}:
    _kept["NOA_TEST_DATABASE"] = "postgres"
# A developer's own settings do not apply here.
_OTHERS = ("NOA_", "OPENAI_", "ANTHROPIC_", "DATABASE_URL")
for name in [name for name in os.environ if name.startswith(_OTHERS)]:
    del os.environ[name]
os.environ |= _kept
