"""The servers that tests start for themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.markdown import ROOT
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.waiting import until


def test_a_postgres_keeps_its_rows_over_a_crash_and_leaves_nothing_at_its_end() -> None:
    with PostgresServer() as server:
        url = server.create("own")
        server.execute("CREATE TABLE fact (id int)", "own")
        server.execute("INSERT INTO fact VALUES (7)", "own")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            server.execute("SELECT 1")
        server.start()
        assert server.url("own") == url
        assert server.execute("SELECT id FROM fact", "own") == [(7,)]
        server.pause()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(server.url(), connect_timeout=2)
        server.resume()
        assert server.execute("SELECT id FROM fact", "own") == [(7,)]
        pid = server.pid
    assert not Path(f"/proc/{pid}").exists()
    assert not server.folder.exists()


def test_a_durable_redis_keeps_what_it_has_over_a_restart() -> None:
    with RedisServer(durable=True) as server:
        assert server.ask("SET", "fact", "7") == b"+OK\r\n"
        server.restart()
        assert server.ask("GET", "fact") == b"$1\r\n7\r\n"


def test_a_server_ends_with_whoever_started_it_even_by_kill_9() -> None:
    program = (
        "import os, signal\n"
        "from tests.servers.redis import RedisServer\n"
        "server = RedisServer().start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    pid, folder = ended.stdout.split()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the server had ended")
    until(lambda: not Path(folder).exists(), "its folder had gone")
