"""One GGUF model in memory: its weights, its vocabulary and the context that sequences run in."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from models_app.domain.catalog import memory
from models_app.domain.errors import LoadFailed
from models_app.engines.runner import lifecycle
from models_app.engines.runner.llama import native
from models_app.engines.runner.llama.vocabulary import Vocabulary
from models_app.engines.spec import RunnerSpec

# The limit of a metadata value: chat templates are the longest (tens of KB).
_METADATA_BYTES = 1024 * 1024
# For some processors llama.cpp copies the weights into a faster layout, and no longer reads the file's.
_COPIED = re.compile(r"REPACK model buffer size =")
_BUFFER_LINE = re.compile(r"(KV|RS|compute) buffer size =\s+([\d.]+) MiB")
_MIB = 1024 * 1024


class LoadedModel:
    """Loads the model of `spec`; `on_progress` gets the loaded share of the weights, 0 to 1.

    Raises LoadFailed. Attributes:

    `vocabulary`; `n_vocab`, `n_ctx_train`, `n_ctx` (capacity of the cache in tokens, over all sequences), `n_embd`;
    `bos`, `eos` (texts), `chat_template` (text or None); `memory` (bytes: `model_bytes`, `kv_bytes`, `compute_bytes`);
    `can_generate`, `can_embed`; `pooling` (the header's pooling type of embeddings); `context` (llama.cpp's pointer).
    """

    def __init__(self, spec: RunnerSpec, on_progress: Callable[[float], None] | None = None) -> None:
        self.context: Any = None
        self._model: Any = None
        native.log.install()
        llama_cpp.llama_backend_init()
        try:
            self._model = _load_weights(spec, on_progress)
            self._describe()
            self.context = self._open_context(spec)
            self._refuse_useless()
        except LoadFailed:
            self.close()
            raise
        self.n_ctx = self._usable_context(spec)
        self.memory = self._measure()
        if _COPIED.search("\n".join(native.log.lines)):
            lifecycle.drop_mapped_pages(Path(spec.path))
        # From here on only warnings are forwarded from C to Python.
        native.log.verbose = False

    def _describe(self) -> None:
        model = self._model
        self.vocabulary = Vocabulary(model)
        self.n_vocab = self.vocabulary.size
        self.n_ctx_train: int = llama_cpp.llama_model_n_ctx_train(model)
        self.n_embd: int = llama_cpp.llama_model_n_embd_out(model)
        self.bos = self.vocabulary.text(self.vocabulary.bos)
        self.eos = self.vocabulary.text(self.vocabulary.eos)
        self.chat_template = self.metadata("tokenizer.chat_template")
        architecture = self.metadata("general.architecture") or ""
        pooling = self.metadata(f"{architecture}.pooling_type")
        self.pooling = int(pooling) if pooling else llama_cpp.LLAMA_POOLING_TYPE_NONE
        self.causal = self.metadata(f"{architecture}.attention.causal") != "false"
        # A recurrent state cannot be truncated to an earlier token: it is kept whole or dropped.
        self.rewinds = not (llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))

    def metadata(self, key: str) -> str | None:
        """A value of the header as text; None when the key is missing."""
        buffer = ctypes.create_string_buffer(_METADATA_BYTES)
        length = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, _METADATA_BYTES)
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    def _open_context(self, spec: RunnerSpec) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = spec.n_ctx
        batch = memory.batch_size(batch_tokens=spec.n_batch, slots=spec.slots)
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = spec.slots
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = spec.n_threads
        self.embedding_rows = self._embedding_rows(spec)
        params.n_outputs_max = max(self.embedding_rows, spec.slots)
        if self.causal:
            # The runner pools: llama.cpp pools only within one batch, and a long input needs several.
            params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        elif self.pooling == llama_cpp.LLAMA_POOLING_TYPE_NONE:
            params.pooling_type = self.pooling = llama_cpp.LLAMA_POOLING_TYPE_MEAN
        context = llama_cpp.llama_init_from_model(self._model, params)
        if not context:
            raise LoadFailed(
                f"llama.cpp could not open a context of {spec.n_ctx} tokens: {native.log.reason()}."
                " Try a smaller context.",
                stage="load",
            )
        self.causal = bool(llama_cpp.llama_get_causal_attn(context))
        return context

    def _embedding_rows(self, spec: RunnerSpec) -> int:
        return memory.embedding_rows(batch_tokens=spec.n_batch, vocab_size=self.n_vocab, causal=self.causal)

    def _refuse_useless(self) -> None:
        model = self._model
        decodes = bool(llama_cpp.llama_model_has_decoder(model))
        encodes = bool(llama_cpp.llama_model_has_encoder(model))
        self.has_memory = bool(llama_cpp.llama_get_memory(self.context))
        self.can_generate = (
            self.causal and self.has_memory and not encodes and not llama_cpp.llama_model_is_diffusion(model)
        )
        self.can_embed = self.pooling != llama_cpp.LLAMA_POOLING_TYPE_RANK and not (encodes and decodes)
        if not (self.can_generate or self.can_embed):
            raise LoadFailed(
                "NOA can neither generate text nor embeddings with this kind of model"
                " (encoder-decoder, diffusion or reranker).",
                stage="load",
            )

    def _usable_context(self, spec: RunnerSpec) -> int:
        tokens: int = min(spec.n_ctx, llama_cpp.llama_n_ctx(self.context))
        rotary = llama_cpp.llama_model_rope_type(self._model) != llama_cpp.LLAMA_ROPE_TYPE_NONE
        # Beyond the end of a table of learned positions llama.cpp aborts. It reports BERT's as rotary, too.
        return tokens if rotary and self.causal else min(tokens, self.n_ctx_train)

    @property
    def longest_embedding(self) -> int:
        """Tokens of the longest input that can be embedded."""
        return self.n_ctx if self.causal else min(self.n_ctx, self.embedding_rows)

    def _measure(self) -> dict[str, int]:
        sizes = {"KV": 0.0, "RS": 0.0, "compute": 0.0}
        for kind, mebibytes in _BUFFER_LINE.findall("\n".join(native.log.lines)):
            sizes[kind] += float(mebibytes)
        return {
            "model_bytes": llama_cpp.llama_model_size(self._model),
            "kv_bytes": int((sizes["KV"] + sizes["RS"]) * _MIB),
            "compute_bytes": int(sizes["compute"] * _MIB),
        }

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool, least_limit: int = 0) -> list[int]:
        """See `Vocabulary.tokenize`; the limit is the context of this model, or `least_limit` if that is larger."""
        limit = max(self.n_ctx, least_limit)
        return self.vocabulary.tokenize(text, add_special=add_special, parse_special=parse_special, limit=limit)

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return self.vocabulary.detokenize(tokens)

    def piece(self, token: int) -> bytes:
        return self.vocabulary.piece(token)

    def close(self) -> None:
        """Frees context and weights. Do not use the object afterwards."""
        if self.context:
            llama_cpp.llama_free(self.context)
            self.context = None
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None


def _load_weights(spec: RunnerSpec, on_progress: Callable[[float], None] | None) -> Any:
    path = Path(spec.path)
    if not path.is_file():
        raise LoadFailed(f"There is no regular file at {path}.", stage="load")
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = spec.n_gpu_layers

    def report(progress: float, _user_data: object) -> bool:
        if on_progress is not None:
            on_progress(progress)
        return True

    params.progress_callback = llama_cpp.llama_progress_callback(report)
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise LoadFailed(f"llama.cpp cannot read this model: {native.log.reason()}.", stage="load")
    return model
