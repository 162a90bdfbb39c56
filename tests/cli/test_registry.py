"""noa ls, show and ps."""

from __future__ import annotations

import json

from tests.cli.conftest import Noa
from tests.cli.fake_noa import FakeNoa, instance, model

EMBER, TIDE = "llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide"


def test_ls_prints_one_tab_separated_row_for_each_model_into_a_pipe(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(EMBER, status="loaded"), model("openai:gpt-4o", version=None)]
    ended = noa("ls")
    assert ended.code == 0
    assert ended.rows == [
        [EMBER, "loaded", "1024", "5 MiB", "Q8_0", "text_generation, chat_completion"],
        ["openai:gpt-4o", "available", "1024", "-", "-", "text_generation, chat_completion"],
    ]


def test_ls_reads_every_page(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(f"llama.cpp:m{number}") for number in range(7)]
    fake.page_size = 3
    assert [row[0] for row in noa("ls").rows] == [one["key"] for one in fake.models]


def test_ls_passes_its_filters_to_the_server(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [
        model("llama.cpp:a", status="loaded", capabilities=["embeddings", "vision"]),
        model("llama.cpp:b", status="loaded", capabilities=["embeddings"]),
        model("llama.cpp:c", capabilities=["embeddings", "vision"]),
        model("ollama:a", status="loaded", capabilities=["embeddings", "vision"]),
    ]
    filters = ["--provider", "llama.cpp", "--status", "loaded", "-q", "a"]
    ended = noa("ls", *filters, "--capability", "embeddings", "--capability", "vision")
    assert [row[0] for row in ended.rows] == ["llama.cpp:a"]


def test_json_is_what_the_server_said_and_may_stand_on_either_side(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(EMBER)]
    assert json.loads(noa("ls", "--json").out) == fake.models
    assert json.loads(noa("--json", "ls").out) == fake.models


def test_an_empty_list_is_an_empty_output_with_a_hint_beside_it(noa: Noa) -> None:
    ended = noa("ls")
    assert (ended.code, ended.out) == (0, "")
    assert "noa discover" in ended.err


def test_show_takes_a_model_id_that_only_one_provider_has(fake: FakeNoa, noa: Noa) -> None:
    failure = {"stage": "load", "reason": "Bad file.", "at": None, "next_attempt_at": "2026-01-01T00:02:00Z"}
    options = {"n_ctx": 512, "slots": 4}
    fake.models = [model(EMBER, status="failed", load_options=options, failure=failure)]
    fields = dict(noa("show", "noa-demo-ember").rows)
    assert fields["key"] == EMBER
    assert fields["failure"] == "Bad file. (stage 'load')"
    assert fields["next attempt"] == "2026-01-01T00:02:00Z"
    assert fields["size"] == "5 MiB"
    assert fields["load_options"] == "n_ctx=512, slots=4"


def test_a_model_id_of_two_providers_is_refused_with_both_keys(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model("a:same"), model("b:same")]
    ended = noa("show", "same")
    assert ended.code == 2
    assert "a:same, b:same" in ended.err


def test_a_name_that_nothing_has_is_refused_with_what_is_near(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(TIDE)]
    ended = noa("show", "tide")
    assert ended.code == 1
    assert ended.err == f"noa: No model is called 'tide'. Did you mean {TIDE}?\n"


def test_a_key_with_slashes_colons_and_blanks_reaches_the_server_whole(fake: FakeNoa, noa: Noa) -> None:
    key = "ollama:org/model name:7b"
    fake.models = [model(key)]
    assert dict(noa("show", key).rows)["key"] == key


def test_ps_shows_measured_memory_and_which_model_is_current(fake: FakeNoa, noa: Noa) -> None:
    fake.loaded = {
        "count": 2,
        "current_model": TIDE,
        "instances": [
            instance(TIDE),
            instance(EMBER, state="starting", in_flight=None, pid=None, memory_bytes=None, load_seconds=None),
        ],
    }
    assert noa("ps").rows == [
        [TIDE, "ready", "yes", "2", "16", "1024", "120 MiB", "4242"],
        [EMBER, "starting", "no", "-", "16", "1024", "-", "-"],
    ]
    assert json.loads(noa("ps", "--json").out) == fake.loaded


def test_what_could_command_a_terminal_is_made_visible(fake: FakeNoa, noa: Noa) -> None:
    fake.models = [model(EMBER, description="red \x1b[31m\nline\ttab")]
    assert dict(noa("show", EMBER).rows)["description"] == "red \ufffd[31m line tab"
