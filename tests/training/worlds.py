"""Training tasks of seconds: the tiny model, many stop tokens, a many-levelled reward; the exact law of one token."""

from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.rewards.base import text_reward, untruncated
from alignment_limits.sampling.shard import decode, encode
from alignment_limits.training.rewards import StandardReward
from alignment_limits.training.run import draw
from alignment_limits.training.task import Task, load_base

SAMPLES = 64
DEFAULTS = {
    "steps": 30,
    "batch": 32,
    "group": 1,
    "epochs": 1,
    "kl_every": 1,
    "learning_rate": 1e-2,
    "lora": {"rank": 4, "alpha": 8, "layers": None},
    "dtype": "float32",
    "coefficient": 0.1,
    "seed": 0,
}


def levels(texts: list[str]) -> object:
    return untruncated([sum((ord(c) % 7) ** 2 for c in text) / 10 for text in texts])


class World:
    """Prompts, and the base's replies to them and scores, made once; tasks made of them.

    longest : tokens of a reply, of which one in twelve stops it.
    """

    def __init__(self, base: Path, longest: int) -> None:
        self.base, self.longest = base, longest
        self.tokenizer = load_tokenizer(base)
        self.stop = [2, *range(20, 40)]
        self.prompts = ["ab", "hello", "x", "prompt 4"]
        self.sent = encode(self.prompts, self.tokenizer, "none")
        self.law = SamplingLaw(0.9)
        self.reward = text_reward("reply", 1, levels)
        model = load_base(base, "float32", self.stop)
        self.vocabulary = model.get_output_embeddings().weight.shape[0]
        torch.manual_seed(1)
        self.samples = [
            draw(model, [ids] * SAMPLES, self.law, longest, self.stop, self.vocabulary) for ids in self.sent
        ]
        texts = [decode(s, self.tokenizer, self.stop) for s in self.samples]
        self.scores = np.stack([self.reward.score([""] * SAMPLES, t).score for t in texts])

    def task(self, scratch: Path, **settings: object) -> Task:
        return Task(
            settings=DEFAULTS | settings,
            base=self.base,
            sent=self.sent,
            prompts=self.prompts,
            law=self.law,
            longest=self.longest,
            reward=StandardReward({"levels": self.reward}, {"levels": self.scores}),
            samples=self.samples,
            tokenizer=self.tokenizer,
            stop=self.stop,
            scratch=scratch,
        )

    def first_token(self, policy: Path | None = None) -> np.ndarray:
        """Log-probabilities of the first token after each prompt [prompts, vocabulary]; of the base, or of a policy."""
        if policy is None or (policy / "adapter_config.json").is_file():
            model = AutoModelForCausalLM.from_pretrained(self.base)
            model = PeftModel.from_pretrained(model, policy) if policy else model
        else:
            model = AutoModelForCausalLM.from_pretrained(policy)
        with torch.inference_mode():
            logits = torch.stack([model(torch.tensor([ids])).logits[0, -1] for ids in self.sent])
        return torch.log_softmax(logits.double() / self.law.temperature, -1).numpy()
