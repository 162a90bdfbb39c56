"""One llama.cpp context for the decode thread: a batch, one call that computes it, its results."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from models_app.engines.runner.llama import native
from models_app.engines.runner.llama.model import LoadedModel

Floats = npt.NDArray[np.float32]

DONE = 0
FULL = 1
ABORTED = 2


class Context:
    """Not thread-safe, except `abort`.

    Rows are numbered in the order of `add_row` and `add_piece`; only those with output have logits, in the same order.
    """

    def __init__(self, model: LoadedModel, *, slots: int) -> None:
        self._pointer = model.context
        self._memory = llama_cpp.llama_get_memory(model.context)
        self._rewinds = model.rewinds
        self._waits = llama_cpp.llama_supports_gpu_offload()
        self._n_vocab, self._n_embd = model.n_vocab, model.n_embd
        self._slots = slots
        self.n_batch: int = llama_cpp.llama_n_batch(model.context)
        self.rows = 0
        self._make_batch(slots, self.n_batch)
        self._install_abort()
        self._logits: Floats = np.empty((0, 0), np.float32)
        self._logits_at: int | None = None

    def _make_batch(self, slots: int, n_batch: int) -> None:
        """llama.cpp reads the batch through pointers into these arrays."""
        self._tokens = np.zeros(n_batch, np.int32)
        self._positions = np.zeros(n_batch, np.int32)
        self._counts = np.ones(n_batch, np.int32)
        self._sequences = np.zeros(n_batch, np.uintp)
        self._outputs = np.zeros(n_batch, np.int8)
        self._ids = np.arange(slots, dtype=np.int32)
        first = self._ids.ctypes.data
        self._id_addresses = [first + 4 * slot for slot in range(slots)]
        fields: dict[str, Any] = {f[0]: f[1] for f in llama_cpp.llama_batch._fields_}
        arrays: dict[str, npt.NDArray[Any]] = {
            "token": self._tokens,
            "pos": self._positions,
            "n_seq_id": self._counts,
            "seq_id": self._sequences,
            "logits": self._outputs,
        }
        self._batch = llama_cpp.llama_batch()
        for name, array in arrays.items():
            setattr(self._batch, name, ctypes.cast(array.ctypes.data, fields[name]))

    def _install_abort(self) -> None:
        """llama.cpp calls the callback before every operation of a step. A Python function would have to wait for the
        GIL each time, so the callback is the C library's `strlen` on a string that is empty until `abort`."""
        self._abort_text = ctypes.create_string_buffer(2)
        length = ctypes.CDLL(None).strlen
        # Referenced here: llama.cpp has only the address.
        self._abort_callback = ctypes.cast(length, llama_cpp.ggml_abort_callback)
        llama_cpp.llama_set_abort_callback(
            self._pointer, self._abort_callback, ctypes.cast(self._abort_text, ctypes.c_void_p)
        )

    def abort(self) -> None:
        """Make the running step return ABORTED within milliseconds; thread-safe."""
        self._abort_text[0] = b"\x01"

    def clear_abort(self) -> None:
        self._abort_text[0] = b"\x00"

    def clear(self) -> None:
        """Starts a new batch."""
        self.rows = 0

    def add_row(self, slot: int, token: int, position: int) -> None:
        """Adds one token with output."""
        row = self.rows
        self._tokens[row] = token
        self._positions[row] = position
        self._sequences[row] = self._id_addresses[slot]
        self._outputs[row] = 1
        self.rows = row + 1

    def add_piece(self, slot: int, tokens: Sequence[int], position: int, *, last: bool, every: bool = False) -> None:
        """Adds consecutive tokens, the first at `position`; output of the `last` one, or of `every` one."""
        start, end = self.rows, self.rows + len(tokens)
        self._tokens[start:end] = tokens
        self._positions[start:end] = np.arange(position, position + len(tokens))
        self._sequences[start:end] = self._id_addresses[slot]
        self._outputs[start:end] = every
        if last:
            self._outputs[end - 1] = 1
        self.rows = end

    def decode(self) -> int:
        """Computes the batch; returns DONE, FULL, ABORTED or another status of llama.cpp, which is an error."""
        self._batch.n_tokens = self.rows
        status: int = llama_cpp.llama_decode(self._pointer, self._batch)
        if self._waits:
            # On a GPU the step is asynchronous; reading its results would wait with the GIL held.
            llama_cpp.llama_synchronize(self._pointer)
        return status

    def embed(self) -> int:
        """As `decode`, with embeddings instead of logits as the output."""
        native.set_embeddings(self._pointer, True)
        try:
            return self.decode()
        finally:
            native.set_embeddings(self._pointer, False)

    def logits(self) -> Floats:
        """The logits of the last step, shape (slots, vocabulary): one row per output. Valid until the next step."""
        address = native.logits_address(self._pointer)
        if address != self._logits_at:
            self._logits = self._view(address, (self._slots, self._n_vocab))
            self._logits_at = address
        return self._logits

    def embeddings(self, rows: int) -> Floats:
        """The unpooled embeddings of the last step, shape (rows, n_embd). Valid until the next step."""
        return self._view(native.embeddings_address(self._pointer), (rows, self._n_embd))

    def sequence_embedding(self, slot: int) -> Floats:
        """The embedding that llama.cpp pooled for a slot, shape (n_embd,). Valid until the next step."""
        address = native.sequence_embedding_address(self._pointer, slot)
        return self._view(address, (self._n_embd,))

    def _view(self, address: int | None, shape: tuple[int, ...]) -> Floats:
        if not address:
            return np.full(shape, np.nan, np.float32)
        count = int(np.prod(shape))
        floats = (ctypes.c_float * count).from_address(address)
        view: Floats = np.ctypeslib.as_array(floats).reshape(shape)
        return view

    def keep(self, slot: int, count: int) -> int:
        """Truncate a slot's cache to its first `count` tokens; returns how many were kept (all or none for models whose
        state cannot be truncated)."""
        if self._memory is None:
            return 0
        if count > 0 and native.seq_remove(self._memory, slot, count, -1):
            return count
        native.seq_remove(self._memory, slot, -1, -1)
        return 0

    def restore(self, slot: int, count: int) -> int:
        """As `keep`, after a failed step: a state that cannot be truncated can be half written."""
        return self.keep(slot, count if self._rewinds else 0)
