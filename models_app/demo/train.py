"""Trains the two demo models and writes their GGUF files beside this script.

    pip install torch
    python -m models_app.demo.train

Takes about a quarter of an hour on one core. The same versions of Python and PyTorch give the same files.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from models_app.demo.conversations import Conversations
from models_app.demo.llama import Llama, Shape, write_gguf
from models_app.demo.muon import Muon
from models_app.demo.tokenizer import Tokenizer

VOCABULARY = 768
# Ember is trained from scratch; Tide starts from Ember's weights and learns other answers.
STEPS = {"ember": 1300, "tide": 1000}
TOKENS_PER_STEP = 2048
# The lengths of rows in tokens, step by step: mostly first questions, sometimes questions late in a conversation.
ROW_LENGTHS = (64, 64, 64, 256, 64, 64, 64, 1024)
# The share of rows that are plain text, so that plain completions work too.
PLAIN_ROWS = 0.02
WARM_UP_STEPS = 30
PEAK_RATE = 3e-3
SEED = 7
_IGNORED = -100  # cross_entropy ignores these targets


class Batches:
    """Batches of conversations, with the target token for each token."""

    def __init__(self, speaker: str, tokenizer: Tokenizer) -> None:
        self._conversations = Conversations(speaker, SEED)
        self._tokenizer = tokenizer
        self._plain = random.Random(SEED)

    def draw(self, length: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, both (TOKENS_PER_STEP / length, length)."""
        rows = [self._row(length + 1) for _ in range(TOKENS_PER_STEP // length)]
        tokens = torch.tensor([[token for token, _ in row] for row in rows])
        spoken = torch.tensor([[own for _, own in row] for row in rows])
        return tokens[:, :-1], tokens.masked_fill(~spoken, _IGNORED)[:, 1:]

    def _row(self, length: int) -> list[tuple[int, bool]]:
        """(token, whether it is the model's own): only the model's own are learned."""
        if self._plain.random() < PLAIN_ROWS:
            return self._statements(length)
        system, _ = self._conversations.conversation(0)
        row = self._message("system", system) if system else []
        while len(row) < length:
            for ask, answer in self._conversations.conversation(1)[1]:
                row += self._message("user", ask) + self._message("assistant", answer)
        return row[:length]

    def _statements(self, length: int) -> list[tuple[int, bool]]:
        row: list[int] = []
        while len(row) < length:
            row += self._tokenizer.encode(self._conversations.statement())
            row.append(self._tokenizer.control("<|im_end|>"))
        return [(token, True) for token in row[:length]]

    def _message(self, role: str, text: str) -> list[tuple[int, bool]]:
        encode, control = self._tokenizer.encode, self._tokenizer.control
        own = role == "assistant"
        head = [control("<|im_start|>"), *encode(f"{role}\n")]
        body = [*encode(text), control("<|im_end|>")]
        return [
            *((t, False) for t in head),
            *((t, own) for t in body),
            *((t, False) for t in encode("\n")),
        ]


def train(model: Llama, tokenizer: Tokenizer, speaker: str, steps: int) -> None:
    """Train the model, in place, on the answers of `speaker`."""
    batches = Batches(speaker, tokenizer)
    optimizers = _optimizers(model)
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, _rate(steps)) for each in optimizers]
    started = time.monotonic()
    for step in range(steps):
        inputs, targets = batches.draw(ROW_LENGTHS[step % len(ROW_LENGTHS)])
        own = targets != _IGNORED
        loss = functional.cross_entropy(model.logits(model(inputs)[own]), targets[own])
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for each in (*optimizers, *schedules):
            each.step()
        if step % 50 == 0:
            seconds = time.monotonic() - started
            print(f"{speaker} step {step} loss {loss.item():.3f} after {seconds:.0f} s", flush=True)


def _optimizers(model: Llama) -> list[torch.optim.Optimizer]:
    matrices = [parameter for parameter in model.blocks.parameters() if parameter.dim() == 2]
    norms = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    rest = [model.token_embd.weight, *norms]
    adam = torch.optim.AdamW(rest, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(matrices, lr=PEAK_RATE), adam]


def _sample() -> list[str]:
    """Training texts of the tokenizer: both speakers, so that one model can start from the other's weights."""
    turns = [Conversations(speaker, SEED + 1).conversation(3000)[1] for speaker in STEPS]
    return [text for turn in itertools.chain(*turns) for text in turn]


def _rate(steps: int) -> Callable[[int], float]:
    """Linear warm-up, then half a cosine down to a hundredth."""

    def factor(step: int) -> float:
        if step < WARM_UP_STEPS:
            return (step + 1) / WARM_UP_STEPS
        part = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part))

    return factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().folder
    torch.manual_seed(SEED)
    # One thread sums in one order, so that the weights come out the same each time.
    torch.set_num_threads(1)
    tokenizer = Tokenizer.train(_sample(), size=VOCABULARY)
    model = Llama(Shape(vocabulary=VOCABULARY))
    for speaker, steps in STEPS.items():
        train(model, tokenizer, speaker, steps)
        name = f"noa-demo-{speaker}"
        description = f"A demo model of NOA that calls itself {speaker.capitalize()}. Not a useful model."
        write_gguf(folder / f"{name}.gguf", model, tokenizer, name=name, description=description)


if __name__ == "__main__":
    main()
