"""Validates work before it reaches the context: llama.cpp aborts the process on unexpected input."""

from __future__ import annotations

import itertools
from array import array

from models_app.domain.errors import ContextLengthExceeded, InvalidRequest
from models_app.engines.runner.batching.constraints import Constraint
from models_app.engines.runner.batching.generation import Generation, Work
from models_app.engines.runner.batching.sampling import Sampler
from models_app.engines.runner.batching.sequences import EmbeddingSequence, GenerationSequence, Sequence
from models_app.engines.runner.grammar.channels import GrammarProgram
from models_app.engines.runner.llama.model import LoadedModel


class Intake:
    """Turns works into sequences. Runs on the callers' threads, because long prompts take time."""

    def __init__(self, model: LoadedModel, grammars: GrammarProgram) -> None:
        self._model, self._grammars = model, grammars
        self._arrivals = itertools.count()

    def prepare(self, work: Work) -> Sequence:
        """Raises InvalidRequest or ContextLengthExceeded for work that this model cannot do."""
        tokens = self._tokens(work)
        if isinstance(work, Generation):
            self._check_generation(len(tokens))
            sampler = Sampler(work.sampling, self._model.vocabulary, prompt=tokens)
            grammar, size = work.sampling.grammar, self._model.n_vocab
            constraint = None if grammar is None else Constraint(self._grammars, grammar, sampler, size)
            return GenerationSequence(work, tokens, next(self._arrivals), sampler=sampler, constraint=constraint)
        self._check_embedding(len(tokens))
        return EmbeddingSequence(work, tokens, next(self._arrivals))

    def _tokens(self, work: Work) -> array[int]:
        try:
            tokens = array("i", work.prompt)
        except (OverflowError, TypeError) as error:
            raise InvalidRequest("The prompt must be a list of token numbers.") from error
        if not tokens:
            raise InvalidRequest("The prompt is empty. Send at least one token.")
        if min(tokens) < 0 or max(tokens) >= self._model.n_vocab:
            raise InvalidRequest(
                "The prompt contains tokens that are not in this model's vocabulary, which has tokens 0 to"
                f" {self._model.n_vocab - 1}.",
                code="token_out_of_range",
            )
        return tokens

    def _check_generation(self, length: int) -> None:
        if not self._model.can_generate:
            raise InvalidRequest("This model cannot generate text; it only computes embeddings.")
        if length >= self._model.n_ctx:
            raise ContextLengthExceeded(
                f"The prompt has {length:,} tokens, but the context of this instance holds"
                f" {self._model.n_ctx:,}, the answer included. Shorten the prompt."
            )

    def _check_embedding(self, length: int) -> None:
        if not self._model.can_embed:
            raise InvalidRequest("This model cannot compute embeddings.")
        longest = self._model.longest_embedding
        if length > longest:
            raise ContextLengthExceeded(
                f"The input has {length:,} tokens; this instance embeds at most {longest:,} at once. Split the input."
            )
