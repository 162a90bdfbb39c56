"""The shared state of a runner's endpoints."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from models_app.domain.errors import ContextLengthExceeded, InvalidRequest
from models_app.domain.traffic.inference import Prompt
from models_app.domain.traffic.sampling import SamplingFields
from models_app.engines.marks import Marks
from models_app.engines.runner.batching.dispatch import Dispatch, Drain
from models_app.engines.runner.batching.generation import Sampling
from models_app.engines.runner.formats.rendering import Renderer
from models_app.engines.runner.grammar.compiling import GrammarCheck
from models_app.engines.runner.llama.model import LoadedModel
from models_app.engines.spec import RunnerSpec

# A shorter text is tokenized faster than a thread starts.
_SHORT_TEXT = 8192
# Longer texts are counted too, within a time that models with a long context need as well.
_COUNTED = 32_768
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _too_long(limit: int, what: str, param: str) -> ContextLengthExceeded:
    """In OpenAI's words: clients recognise an overflow by them."""
    return ContextLengthExceeded(
        f"This model's maximum context length is {limit} tokens. However, {what}. Shorten the prompt, or lower "
        "the limit of the answer.",
        param=param,
    )


@dataclass(frozen=True, slots=True)
class State:
    """`renderer` is None for a model without a chat template."""

    spec: RunnerSpec
    model: LoadedModel
    renderer: Renderer | None
    dispatch: Dispatch
    drain: Drain
    grammars: GrammarCheck
    marks: Marks
    created: int  # Unix seconds
    # Two, so that one very long text does not block the others.
    tokenizers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="tokenize"))

    async def tokens(self, prompt: Prompt, *, param: str, add_special: bool = True, fits: bool = True) -> Sequence[int]:
        """The tokens of a prompt. Raises InvalidRequest for ids that the vocabulary does not have and for an empty
        prompt, ContextLengthExceeded for more tokens than the context, or, with `fits` False, than `_COUNTED`."""
        if isinstance(prompt, str):
            ids = await self._tokenize(prompt, param, add_special, 0 if fits else _COUNTED)
        else:
            ids = prompt
            self._check_ids(prompt, param)
        if not ids:
            raise InvalidRequest(f"'{param}' has no tokens for this model.", param=param)
        if fits and len(ids) > self.model.n_ctx:
            raise _too_long(self.model.n_ctx, f"'{param}' has {len(ids)} tokens", param)
        return ids

    async def _tokenize(self, text: str, param: str, add_special: bool, least: int) -> Sequence[int]:
        # Embedding input is data: control tokens written out in it are plain text.
        parse_special = param != "input"

        def work() -> Sequence[int]:
            try:
                return self.model.tokenize(
                    text, add_special=add_special, parse_special=parse_special, least_limit=least
                )
            except InvalidRequest as error:
                error.param = param
                raise

        if len(text) <= _SHORT_TEXT:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self.tokenizers, work)

    def _check_ids(self, ids: Sequence[int], param: str) -> None:
        highest = max(ids)
        if highest >= self.model.n_vocab:
            raise InvalidRequest(
                f"'{param}' contains {highest}, but this model's tokens are 0 to {self.model.n_vocab - 1}.",
                code="token_out_of_range",
                param=param,
            )

    def memory(self) -> Mapping[str, int]:
        """Bytes, as in the ready message and /health."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {"rss_bytes": pages * _PAGE, **self.model.memory}

    def sampling(
        self,
        fields: SamplingFields,
        *,
        prompt_tokens: int,
        param: str,
        grammar: str | None = None,
        more_stops: tuple[str, ...] = (),
        clip: bool = False,
    ) -> Sampling:
        """The checked request's sampling for this model. Raises ContextLengthExceeded when prompt and answer do not
        fit, unless `clip`, and InvalidRequest for a biased token that does not exist."""
        if fields.logit_bias and max(fields.logit_bias) >= self.model.n_vocab:
            raise InvalidRequest(
                f"'logit_bias' names a token that this model does not have (0 to {self.model.n_vocab - 1}).",
                code="token_out_of_range",
                param="logit_bias",
            )
        room = self.model.n_ctx - prompt_tokens
        max_tokens = fields.max_tokens or max(room, 1)
        if clip:
            max_tokens = max(1, min(max_tokens, room))
        if max_tokens > room:
            raise _too_long(
                self.model.n_ctx,
                f"you requested {prompt_tokens + max_tokens} tokens "
                f"({prompt_tokens} in '{param}', {max_tokens} for the answer)",
                param,
            )
        return Sampling(
            max_tokens=max_tokens,
            temperature=fields.temperature,
            top_p=fields.top_p,
            top_k=fields.top_k,
            min_p=fields.min_p,
            repeat_penalty=fields.repeat_penalty,
            presence_penalty=fields.presence_penalty,
            frequency_penalty=fields.frequency_penalty,
            seed=fields.seed,
            logit_bias=fields.logit_bias,
            grammar=grammar,
            stop=(*fields.stop, *more_stops),
            top_logprobs=fields.top_logprobs,
            ignore_eos=fields.ignore_eos,
            cache_prompt=fields.cache_prompt,
        )
