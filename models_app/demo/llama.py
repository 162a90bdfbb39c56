"""A small llama in PyTorch, laid out as llama.cpp computes it, and its GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models_app.demo.tokenizer import CONTROL, Tokenizer

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_NORM_EPSILON = 1e-5
_ROPE_BASE = 10_000.0


@dataclass(frozen=True, slots=True)
class Shape:
    vocabulary: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    context: int = 2048


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.width, shape.feed_forward
        self.heads = shape.heads
        self.attn_norm = nn.RMSNorm(width, eps=_NORM_EPSILON)
        self.ffn_norm = nn.RMSNorm(width, eps=_NORM_EPSILON)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.ffn_down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.attn_qkv(self.attn_norm(x)).view(batch, length, 3, self.heads, -1)
        parts = parts.permute(2, 0, 3, 1, 4)
        query, key = _rotate(parts[:2], rotation)
        attended = functional.scaled_dot_product_attention(query, key, parts[2], is_causal=True)
        x = x + self.attn_output(attended.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.ffn_gate_up(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.ffn_down(functional.silu(gate) * up)


class Llama(nn.Module):
    """Logits for (batch, length) token ids; input and output share one embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=_NORM_EPSILON)
        self.register_buffer("rotation", _rotation(shape), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.04)

    def forward(self, tokens: Tensor) -> Tensor:
        """The last hidden states; `logits` turns those that are needed into scores."""
        x = self.token_embd(tokens)
        rotation = self.rotation[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, rotation)
        return self.output_norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.token_embd.weight)


def _rotation(shape: Shape) -> Tensor:
    """A complex number of length one per position and pair, as (context, head size / 2)."""
    size = shape.width // shape.heads
    speeds = _ROPE_BASE ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(shape.context)[:, None] * speeds
    return torch.polar(torch.ones_like(angles), angles)


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """RoPE on neighbouring pairs, the order that llama.cpp expects of the architecture `llama`."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2)


def write_gguf(path: Path, model: Llama, tokenizer: Tokenizer, *, name: str, description: str) -> None:
    """Writes the model with Q8_0 matrices."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_description(description)
    writer.add_author("The NOA project")
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q8_0))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, model.shape)
    _add_tokenizer(writer, tokenizer)
    _add_weights(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(_ROPE_BASE)
    writer.add_layer_norm_rms_eps(_NORM_EPSILON)
    writer.add_pooling_type(gguf.PoolingType.MEAN)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    plain = len(tokenizer.tokens) - len(CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * plain + [gguf.TokenType.CONTROL] * len(CONTROL))
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.control("<|endoftext|>"))
    writer.add_eos_token_id(tokenizer.control("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add_weights(writer: gguf.GGUFWriter, model: Llama) -> None:
    _add_matrix(writer, "token_embd", model.token_embd.weight)
    writer.add_tensor("output_norm.weight", _array(model.output_norm.weight))
    for number, block in enumerate(model.blocks):
        prefix = f"blk.{number}."
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{prefix}{norm}.weight", _array(getattr(block, norm).weight))
        for part, weight in zip("qkv", block.attn_qkv.weight.chunk(3), strict=True):
            _add_matrix(writer, f"{prefix}attn_{part}", weight)
        gate, up = block.ffn_gate_up.weight.chunk(2)
        _add_matrix(writer, f"{prefix}ffn_gate", gate)
        _add_matrix(writer, f"{prefix}ffn_up", up)
        _add_matrix(writer, f"{prefix}ffn_down", block.ffn_down.weight)
        _add_matrix(writer, f"{prefix}attn_output", block.attn_output.weight)


def _add_matrix(writer: gguf.GGUFWriter, name: str, weight: Tensor) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(f"{name}.weight", gguf.quants.quantize(_array(weight), kind), raw_dtype=kind)


def _array(weight: Tensor) -> np.ndarray:
    return weight.detach().float().contiguous().numpy()
