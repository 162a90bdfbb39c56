"""The access log through kills and stops of the whole server: no row is lost, none is duplicated."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.asking import Asking
from tests.chaos.conftest import Figures
from tests.journeys.rows import query
from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(400)]

Times = Callable[[int, int], int]
OwnServer = Callable[..., NoaServer]


def rows(server: NoaServer, name: str) -> dict[str, tuple[int, str, int]]:
    """Of the requests of one `Asking`: how many rows each has, its error code and whether it was aborted."""
    found = query(
        server,
        "SELECT client_request_id, count(*), max(error_code), max(aborted) FROM models_app_accesslog"
        f" WHERE client_request_id LIKE '{name}-%' GROUP BY client_request_id",
    )
    return {str(one): (int(str(n)), str(code), int(str(cut))) for one, n, code, cut in found}


def killed_under(server: NoaServer, name: str) -> tuple[Asking, dict[str, tuple[int, str, int]]]:
    """Kills the server under load, restarts it, and waits until every answered request has its row."""
    with Asking(server, clients=4, streams=3, name=name) as asking:
        until(lambda: len(asking.answered) >= 50, "50 answers came", 60)
        server.kill()
    server.start()
    until(lambda: asking.answered.keys() <= rows(server, name).keys(), "every answer had its row", 30)
    return asking, rows(server, name)


def test_a_kill_of_the_web_process_loses_no_row(own_server: OwnServer, figures: Figures, times: Times) -> None:
    """F14: in the middle of streams."""
    server, seen, cut_off = own_server(), 0, Counter[str]()
    server.start()
    for number in range(times(1, 20)):
        asking, found = killed_under(server, f"kill{number}")
        assert {one: count for one, (count, _, _) in found.items() if count != 1} == {}
        for one, (_, code, aborted) in found.items():
            if one in asking.cut:
                cut_off[code] += 1
                # Its answer can have been in transit: the row then has its outcome.
                assert aborted or not code, f"{one} was cut and its row says {code!r}"
        seen += len(asking.answered)
    assert cut_off["server_killed"] > 0
    figures.record("F14 rows lost of answered requests", 0, bound=0, count=seen, unit="rows")
    figures.record("F14 rows doubled", 0, bound=0, count=seen, unit="rows")


def test_a_stop_lets_twenty_streams_end_and_leaves_no_spool(own_server: OwnServer, figures: Figures) -> None:
    """F15: the part of the log."""
    server = own_server()
    server.start()
    asking = Asking(server, clients=0, streams=20, name="stop")
    with asking:
        until(lambda: len(asking.answered) >= 20 or None, "every stream had begun", 60)
        server.process.send_signal(signal.SIGTERM)
        asking._stopping.set()
        assert server._wait() == 0
    refused = [why for why in asking.cut.values() if "cut:" in why]
    assert refused == [], "a stream was cut by the stop"
    found = rows(server, "stop")
    assert asking.answered.keys() <= found.keys()
    assert {one for one, (count, _, _) in found.items() if count != 1} == set()
    assert [path.name for path in (server.data_dir / "spool").iterdir()] == []
    figures.record("F15 streams cut by SIGTERM", 0, bound=0, count=20, unit="streams")
