"""A server with models of every kind: local ones, and those of a fake OpenAI and a fake Anthropic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.gguf_files import write_tiny_gguf
from tests.fakes.openai_server import FakeOpenAI
from tests.journeys.server import NoaServer

EMBER = "llama.cpp:noa-demo-ember"
# A model whose chat template supports tools, unlike that of the demo model.
CALLER = "llama.cpp:caller"
# The models of each kind, those for embeddings second.
MODELS = {
    "local": (EMBER, EMBER),
    "OpenAI-compatible": ("openai:gpt-4o", "openai:text-embedding-3-small"),
    "Anthropic": ("anthropic:claude-haiku-4-5-20251001", "anthropic:claude-haiku-4-5-20251001"),
}


@contextmanager
def running(folder: Path) -> Iterator[NoaServer]:
    """The server, with all of `MODELS` loaded."""
    with FakeOpenAI() as openai, FakeAnthropic() as anthropic:
        providers = [
            {
                "slug": kind,
                "kind": kind,
                "base_url": fake.base_url,
                "api_key": fake.key,
                "allow_private_addresses": True,
            }
            for kind, fake in (("openai", openai), ("anthropic", anthropic))
        ]
        environment = {"NOA_PROVIDERS": json.dumps(providers), "NOA_MODELS_DIR": str(folder)}
        write_tiny_gguf(folder / "caller.gguf", context=4096)
        server = NoaServer(folder / "data", environment=environment)
        try:
            server.start()
            assert server.api("POST", "/api/v1/models/discover?wait=60", {})[0] == 200
            for key in {CALLER, *(key for keys in MODELS.values() for key in keys)}:
                loaded = server.api("POST", "/api/v1/models/load?wait=60", {"key": key})
                assert loaded[0] == 200, loaded
            yield server
            server.stop()
        finally:
            server.kill()
