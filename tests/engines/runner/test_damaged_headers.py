"""Headers that are wrong in one value, in files that are whole: each load ends, with an answer or a reason."""

from __future__ import annotations

import struct
from pathlib import Path

import psutil
import pytest

from models_app.domain.errors import LoadFailed, ModelFileError
from models_app.engines import gguf
from tests.engines.runner.conftest import Launch
from tests.engines.runner.program import WAIT
from tests.fakes.altered_gguf import alter
from tests.fakes.broken_gguf import ARRAY, BOOL, F32, STRING, U8, U32, Entry, array, text, u32
from tests.fakes.gguf_files import write_tiny_gguf
from tests.waiting import until

pytestmark = pytest.mark.llama

_EPSILON = "llama.attention.layer_norm_rms_epsilon"
_TOKENIZER = "tokenizer.ggml.model"


def f32(key: str, value: float) -> Entry:
    return Entry(key, F32, struct.pack("<f", value))


def number(key: str, value: int) -> Entry:
    return Entry(key, U32, u32(value))


def string(key: str, value: str) -> Entry:
    return Entry(key, STRING, text(value))


# Without the scan, all of them reach llama.cpp: a file can be replaced between the scan and the load.
ALTERED: dict[str, list[Entry]] = {
    **{f"epsilon {value}": [f32(_EPSILON, value)] for value in (float("nan"), float("inf"), float("-inf"), -1.0)},
    **{
        f"{name} {value}": [f32(f"llama.{name}", value)]
        for name in ("rope.freq_base", "rope.scaling.factor", "rope.scaling.attn_factor", "logit_scale")
        for value in (float("nan"), 0.0, -1.0)
    },
    **{f"{count} experts": [number("llama.expert_count", count)] for count in (1, 512, 513, 2**31, 2**32 - 1)},
    "one expert used of none": [number("llama.expert_used_count", 1)],
    "three experts used of two": [number("llama.expert_count", 2), number("llama.expert_used_count", 3)],
    **{f"{count} heads": [number("llama.attention.head_count", count)] for count in (0, 3, 2**31)},
    **{f"{count} kv heads": [number("llama.attention.head_count_kv", count)] for count in (0, 7, 2**31)},
    **{f"{count} rope dimensions": [number("llama.rope.dimension_count", count)] for count in (0, 3, 2**31)},
    **{f"key length {count}": [number("llama.attention.key_length", count)] for count in (0, 33, 2**20)},
    **{f"{count} blocks": [number("llama.block_count", count)] for count in (0, 2, 2**31)},
    **{f"context {count}": [number("llama.context_length", count)] for count in (0, 1, 2**31)},
    **{f"vocabulary {count}": [number("llama.vocab_size", count)] for count in (0, 1, 2**31)},
    **{
        f"{name} token 999999": [number(f"tokenizer.ggml.{name}_token_id", 999_999)]
        for name in ("bos", "eos", "eot", "unknown", "padding", "seperator", "mask")
    },
    **{
        f"tokenizer {name}": [string(_TOKENIZER, name)] for name in ("bert", "gpt2", "t5", "rwkv", "none", "plamo2", "")
    },
    "damaged merges": [
        string(_TOKENIZER, "gpt2"),
        Entry("tokenizer.ggml.merges", ARRAY, array(STRING, [text("a"), text(" "), text("")])),
    ],
    "damaged characters": [
        string(_TOKENIZER, "t5"),
        Entry("tokenizer.ggml.precompiled_charsmap", ARRAY, array(U8, [b"\xff"] * 8)),
    ],
    "unknown rope scaling": [string("llama.rope.scaling.type", "nonsense")],
    "a sliding window of 1": [number("llama.attention.sliding_window", 1)],
    "not causal": [Entry("llama.attention.causal", BOOL, b"\0")],
}
# llama.cpp aborts on these; the scan refuses them, so that no runner is started.
_ABORTING = [
    name
    for name in ALTERED
    if name.endswith((" experts", "used of none", "used of two"))
    or name in ("epsilon nan", "epsilon -inf", "epsilon -1.0", "tokenizer bert", "tokenizer none")
    or name in ("0 blocks", "2147483648 blocks", "unknown rope scaling")
]


def altered(folder: Path, name: str) -> Path:
    path = write_tiny_gguf(folder / "m.gguf")
    return alter(path, {str(entry.key): entry for entry in ALTERED[name]})


@pytest.mark.parametrize("name", ALTERED)
def test_a_load_ends_with_a_working_model_or_a_reason(tmp_path: Path, launch: Launch, name: str) -> None:
    runner = launch(altered(tmp_path, name))
    try:
        runner.wait_ready()
    except LoadFailed as failure:
        assert failure.stage in ("load", "template", "warm_up")
        assert failure.code == "load_failed"
        for inside in ("0x00", "#0 ", "libc", "Traceback", "/tmp/", "gdb", "[Inferior"):
            assert inside not in failure.message
        # By itself, and with all that it had started: not by a time-out, and not half of it.
        runner.exit_code()
        until(lambda: not left_of(runner.process.pid), "nothing of its session is left", WAIT)
    else:
        assert runner.chat(max_tokens=2)[0] in (200, 400)
        assert runner.post("/v1/embeddings", input="Hi")[0] in (200, 400)
        assert runner.health()["state"] == "ready"


def left_of(leader: int) -> list[int]:
    left = []
    for pid in psutil.pids():
        try:
            found = psutil.Process(pid)
            if found.status() != psutil.STATUS_ZOMBIE and leader in (pid, *[one.pid for one in found.parents()]):
                left.append(pid)
        except psutil.NoSuchProcess:
            continue
    return left


@pytest.mark.parametrize("name", _ABORTING)
def test_what_aborts_llama_cpp_is_refused_by_the_scan(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError):
        gguf.inspect(altered(tmp_path, name), roots=[tmp_path])
