"""Training tasks of seconds: the tiny model, short replies, a reward that counts characters."""

from pathlib import Path

import numpy as np

from alignment_limits.policies.next_token import SamplingLaw
from alignment_limits.rewards.base import text_reward, untruncated
from alignment_limits.sampling import tokens
from alignment_limits.training.model import load
from alignment_limits.training.replies import draw
from alignment_limits.training.standard_reward import StandardReward
from alignment_limits.training.task import Task

LONGEST, PROMPTS, SAMPLES = 6, 4, 64
DEFAULTS = {
    "steps": 30,
    "batch": 32,
    "group": 1,
    "epochs": 1,
    "learning_rate": 1e-2,
    "lora": {"rank": 4, "alpha": 8, "layers": None},
    "dtype": "float32",
    "coefficient": 0.1,
    "seed": 0,
}


def lower_case() -> object:
    """A reward that can be raised by many replies: the share of ASCII letters."""
    return text_reward(
        "reply", 1, lambda texts: untruncated([sum(c in "abcdefghijklmnopqrstuvwxyz" for c in t) for t in texts])
    )


class World:
    """The base's samples and scores, made once; tasks made of them."""

    def __init__(self, base: Path) -> None:
        import torch

        self.base = base
        self.tokenizer = tokens.load_tokenizer(base)
        self.stop = tokens.stop_ids(base, self.tokenizer)
        self.prompts = ["ab", "hello", "x", "prompt 4"][:PROMPTS]
        self.sent = tokens.encode(self.prompts, self.tokenizer, "none")
        self.law = SamplingLaw(0.9)
        model = load(base, "float32", self.stop)
        torch.manual_seed(1)
        vocabulary = model.get_output_embeddings().weight.shape[0]
        self.samples = [draw(model, [s] * SAMPLES, self.law, LONGEST, self.stop, vocabulary) for s in self.sent]
        self.model = lower_case()
        texts = [tokens.decode(s, self.tokenizer, self.stop) for s in self.samples]
        self.scores = np.stack(
            [self.model.score([p] * SAMPLES, t).score for p, t in zip(self.prompts, texts, strict=True)]
        )

    def task(self, scratch: Path, **settings: object) -> Task:
        return Task(
            settings=DEFAULTS | settings,
            base=self.base,
            sent=self.sent,
            prompts=self.prompts,
            law=self.law,
            longest=LONGEST,
            reward=StandardReward({"lower": self.model}, {"lower": self.scores}),
            samples=self.samples,
            tokenizer=self.tokenizer,
            stop=self.stop,
            scratch=scratch,
        )
