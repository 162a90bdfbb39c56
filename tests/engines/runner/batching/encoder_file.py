"""A tiny BERT: an encoder, which processes its input whole and only embeds."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, FEED_FORWARD, POSITIONS = 32, 2, 2, 64, 48
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# WordPiece in llama.cpp's spelling: a word begins with U+2581.
WORDS = tuple(f"\u2581{word}" for word in ("the", "cat", "sat", "a", "dog", "ran", "far", "away"))


def write_encoder_gguf(path: Path) -> Path:
    random = np.random.default_rng(3)
    tokens = [*MARKS, *WORDS]
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("encoder")
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.CLS)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([int(gguf.TokenType.CONTROL)] * len(MARKS) + [1] * len(WORDS))
    writer.add_token_type_count(2)
    for name, mark in (("unk", "[UNK]"), ("bos", "[CLS]"), ("sep", "[SEP]"), ("pad", "[PAD]")):
        getattr(writer, f"add_{name}_token_id")(tokens.index(mark))

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.standard_normal(shape, dtype=np.float32) * 0.3)

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    add("token_embd.weight", len(tokens), WIDTH)
    add("position_embd.weight", POSITIONS, WIDTH)
    add("token_types.weight", 2, WIDTH)
    add_norm("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{part}.weight", WIDTH, WIDTH)
            add(f"{block}.{part}.bias", WIDTH)
        add(f"{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        add(f"{block}.ffn_up.bias", FEED_FORWARD)
        add(f"{block}.ffn_down.weight", WIDTH, FEED_FORWARD)
        add(f"{block}.ffn_down.bias", WIDTH)
        add_norm(f"{block}.attn_output_norm")
        add_norm(f"{block}.layer_output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
