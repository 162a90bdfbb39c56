"""Small GGUF models that tests and benchmarks generate quickly.

`write_tiny_gguf` writes a "bigram" llama: attention and feed-forward weights are zero, so the logits depend only on
the last token and can be chosen freely. `write_random_gguf` writes a llama whose arithmetic costs what a real one
costs and whose answers mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from tests.fakes import bigram
from tests.fakes.bigram import Vocabulary

Matrix = npt.NDArray[np.float32]
Weights = Callable[[int, int], npt.NDArray[Any]]

CHATML_WITH_TOOLS = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] in ('system', 'developer') %}{{- messages[0]['content'] + '\\n' }}{%- endif %}
    {{- '# Tools\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\\n</tools>\\nFor each call answer with\\n<tool_call>\\n' }}
    {{- '{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] }}
        {{- '\\n</tool_response><|im_end|>\\n' }}
    {%- elif message['role'] == 'assistant' and message['tool_calls'] %}
        {{- '<|im_start|>assistant' }}
        {%- if message['content'] %}{{- '\\n' + message['content'] }}{%- endif %}
        {%- for call in message['tool_calls'] %}
            {%- if call['function'] is defined %}{%- set call = call['function'] %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' + call['name'] + '", "arguments": ' }}
            {{- call['arguments'] | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif not (tools and loop.first and message['role'] in ('system', 'developer')) %}
        {{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

_HEAD_SIZE = 32
# The type of the weights, the file's type, and bytes of one weight.
QUANTIZATIONS = {
    "F32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32, 4.0),
    "F16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16, 2.0),
    "Q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0, 34 / 32),
    "Q5_0": (gguf.GGMLQuantizationType.Q5_0, gguf.LlamaFileType.MOSTLY_Q5_0, 22 / 32),
    "Q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0, 18 / 32),
}


def write_tiny_gguf(
    path: Path,
    *,
    name: str = "tiny",
    seed: int = 0,
    context: int = 2048,
    megabytes: float = 0.0,
    layers: int = 1,
    pooling: bool = True,
    chat_template: str | None = CHATML_WITH_TOOLS,
    says: str | None = None,
    ends: bool = True,
) -> Path:
    """A deterministic llama of about 3 MB that generates the five sentences of `bigram.STORY`; returns `path`.

    At temperature 0 an answer is the whole story and ends; above, sentences are skipped and repeated. `seed` other
    than 0 changes their order. `says` makes it answer every chat with exactly this sentence, also at usual
    temperatures. `ends` False starts again instead of ending. `megabytes` adds that much of dead feed-forward weights
    (read and multiplied like live ones). `pooling` puts mean pooling into the header: embeddings are then
    histograms of bytes, so that similar texts are close. Under a JSON grammar answers close soon.
    """
    vocabulary = Vocabulary.of((says,) if says else _story(seed))
    size = len(vocabulary)
    width = -(-size // _HEAD_SIZE) * _HEAD_SIZE
    feed_forward = _feed_forward_for(megabytes * 1e6, layers=layers, width=width, item_bytes=4)
    writer = _writer(path, vocabulary, name=name, context=context, chat_template=chat_template)
    _add_shape(writer, width=width, layers=layers, heads=width // _HEAD_SIZE, feed_forward=feed_forward)
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    if pooling:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tensor("token_embd.weight", np.eye(size, width, dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("output.weight", _bigram_output(vocabulary, width=width, ends=ends))
    for layer in range(layers):
        _add_layer(writer, layer, width, feed_forward, _zeros)
    return _finish(writer, path)


def write_random_gguf(
    path: Path,
    *,
    megabytes: float = 20.0,
    layers: int = 8,
    embedding: int = 512,
    heads: int = 8,
    context: int = 4096,
    name: str = "random",
    seed: int = 0,
    heads_kv: int | None = None,
    quantization: str = "F16",
    unused_tokens: int = 0,
) -> Path:
    """A llama of about `megabytes` with random weights and real attention, for benchmarks; returns `path`.

    The feed-forward width is chosen to reach the size. It writes printable bytes and never ends by itself, so that
    an answer has as many tokens as were asked for. The same arguments give the same file. `quantization` is one of
    `QUANTIZATIONS`; `unused_tokens` makes the vocabulary that much larger.
    """
    vocabulary = Vocabulary.of(bigram.STORY)
    size = len(vocabulary) + unused_tokens
    kind, file_type, item_bytes = QUANTIZATIONS[quantization]
    width_kv = embedding // heads * (heads_kv or heads)
    per_layer = 2 * embedding * embedding + 2 * embedding * width_kv
    fixed_bytes = item_bytes * (2 * size * embedding + layers * per_layer)
    feed_forward = _feed_forward_for(
        megabytes * 1e6 - fixed_bytes, layers=layers, width=embedding, item_bytes=item_bytes
    )
    noise = _Noise(seed)

    def weights(rows: int, columns: int) -> npt.NDArray[Any]:
        return gguf.quants.quantize(noise.draw(rows, columns), kind)

    writer = _writer(
        path,
        vocabulary,
        name=name,
        context=context,
        chat_template=CHATML_WITH_TOOLS,
        unused_tokens=unused_tokens,
    )
    _add_shape(
        writer,
        width=embedding,
        layers=layers,
        heads=heads,
        heads_kv=heads_kv,
        feed_forward=feed_forward,
    )
    writer.add_file_type(int(file_type))
    output = noise.draw(size, embedding)
    # Tokens that are not printable keep a logit of 0; printable ones have a deviation of 10, so that the
    # best of them is far above 0 at every usual temperature.
    silent = np.setdiff1d(np.arange(size), vocabulary.printable)
    output *= np.float16(10.0)
    output[silent] = 0

    def add(name: str, values: npt.NDArray[Any]) -> None:
        # Types other than numpy's plain numbers need their names.
        plain = quantization in ("F16", "F32")
        writer.add_tensor(name, values, raw_dtype=None if plain else kind)

    add("token_embd.weight", weights(size, embedding))
    writer.add_tensor("output_norm.weight", np.ones(embedding, np.float32))
    add("output.weight", gguf.quants.quantize(output, kind))
    for layer in range(layers):
        _add_layer(writer, layer, embedding, feed_forward, weights, width_kv=width_kv, add=add)
    return _finish(writer, path)


class _Noise:
    """Weights sliced from one pool of random numbers: writing 300 MB then costs no more than a copy."""

    _POOL = 1 << 22

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._pool = self._random.standard_normal(self._POOL, dtype=np.float32)
        self._scaled: dict[int, npt.NDArray[np.float16]] = {}

    def draw(self, rows: int, columns: int) -> npt.NDArray[np.float16]:
        """Normal weights scaled so that a product keeps the size of its input."""
        if columns not in self._scaled:
            self._scaled[columns] = (self._pool / np.sqrt(columns)).astype(np.float16)
        scaled = self._scaled[columns]
        parts, missing = [], rows * columns
        while missing:
            start = int(self._random.integers(self._POOL))
            parts.append(scaled[start : start + missing])
            missing -= len(parts[-1])
        return np.concatenate(parts).reshape(rows, columns)


def _story(seed: int) -> tuple[str, ...]:
    order = np.random.default_rng(seed).permutation(len(bigram.STORY)) if seed else range(5)
    return tuple(bigram.STORY[number] for number in order)


def _zeros(rows: int, columns: int) -> Matrix:
    return np.zeros((rows, columns), np.float32)


def _feed_forward_for(size: float, *, layers: int, width: int, item_bytes: float) -> int:
    """The feed-forward width, a multiple of 32, with which three matrices per layer take `size` bytes."""
    return max(32, int(size / (item_bytes * 3 * width * layers)) // 32 * 32)


def _writer(
    path: Path,
    vocabulary: Vocabulary,
    *,
    name: str,
    context: int,
    chat_template: str | None,
    unused_tokens: int = 0,
) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    unused = [f"<unused{number}>" for number in range(unused_tokens)]
    size = len(vocabulary) + unused_tokens
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*vocabulary.tokens(), *unused])
    writer.add_token_types([*vocabulary.types(), *[gguf.TokenType.UNUSED] * unused_tokens])
    writer.add_token_scores([0.0] * size)
    writer.add_bos_token_id(vocabulary.begin)
    writer.add_eos_token_id(vocabulary.message_end)
    writer.add_unk_token_id(vocabulary.unknown)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    return writer


def _add_shape(
    writer: gguf.GGUFWriter,
    *,
    width: int,
    layers: int,
    heads: int,
    feed_forward: int,
    heads_kv: int | None = None,
) -> None:
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads_kv or heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-6)


def _add_layer(
    writer: gguf.GGUFWriter,
    layer: int,
    width: int,
    feed_forward: int,
    weights: Weights,
    *,
    width_kv: int | None = None,
    add: Callable[[str, npt.NDArray[Any]], None] | None = None,
) -> None:
    add = add or writer.add_tensor
    block = f"blk.{layer}."
    for norm in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"{block}{norm}.weight", np.ones(width, np.float32))
    for matrix in ("attn_q", "attn_output"):
        add(f"{block}{matrix}.weight", weights(width, width))
    for matrix in ("attn_k", "attn_v"):
        add(f"{block}{matrix}.weight", weights(width_kv or width, width))
    add(f"{block}ffn_gate.weight", weights(feed_forward, width))
    add(f"{block}ffn_up.weight", weights(feed_forward, width))
    add(f"{block}ffn_down.weight", weights(width, feed_forward))


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _bigram_output(vocabulary: Vocabulary, *, width: int, ends: bool) -> Matrix:
    """Output weights whose logits are the log-probabilities of each token's successors."""
    probability = bigram.followers(vocabulary, ends=ends)
    output = np.zeros((len(vocabulary), width), np.float32)
    # A one-hot embedding leaves the norm with the length sqrt(width).
    output[:, : len(vocabulary)] = np.log(probability).T / np.sqrt(width)
    return output
