"""Train every objective to convergence in the world whose replies can all be listed, and compare it with the limit.

    python benchmarks/convergence.py [OBJECTIVE …]

Policies are trained on gold (`whole` of config/studies/enumerable.yaml) at β = 0.5, on 16 of the 64 prompts, and judged
on those 16 and on the other 48 by exact sums. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from alignment_limits.exact.laws import gain, kl, limit, mean, tilt
from alignment_limits.exact.optima import per_token_optimum
from alignment_limits.exact.world import exact_logprobs, load_exact, replies_of
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.rewards.load import load_reward
from alignment_limits.sampling.shard import decode, encode
from alignment_limits.study.rewards import Lexicon
from alignment_limits.training.convergence import ending
from alignment_limits.training.rewards import StandardReward
from alignment_limits.training.run import train
from alignment_limits.training.task import Task

BETA, LONGEST, PROMPTS, SAMPLES = 0.5, 4, 16, 256
RUN = {"steps": 600, "stop": {"patience": 50}, "batch": 128, "kl_every": 5, "learning_rate": 1e-3, "epochs": 1}
RUN |= {"lora": None, "dtype": "float32", "seed": 0, "group": 1, "coefficient": BETA}
RUNS = {
    "exact": {"steps": 3000},
    "ppo": {},
    "rloo": {"group": 16},
    "grpo": {"group": 16},
    "grpo-kl-in-reward": {"group": 16},
    "grpo-k2": {"group": 16},
    "dpo": {},
    "tilt": {},
    "best-of-n": {"coefficient": 4, "stop": None, "steps": 300},
    "expert-iteration": {"coefficient": 4, "group": 4, "stop": None, "steps": 30},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objectives", nargs="*", choices=[[], *RUNS], default=[])
    parser.add_argument("--steps", type=int, help="at most so many; for a trial")
    given = parser.parse_args()
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.set_num_threads(1)
    base = Path("resources/enumerable/model")
    tokenizer = load_tokenizer(base)
    every = Path("resources/enumerable/prompts.txt").read_text("utf-8").split("\n")[:-1]
    order = np.random.default_rng(0).permutation(len(every))
    prompts, law = [every[i] for i in order], SamplingLaw()
    sent, stop = encode(prompts, tokenizer, "none"), stop_tokens(base, tokenizer)
    model = load_exact(base)
    replies = replies_of(model, stop, LONGEST)
    log_base = exact_logprobs(model, sent, replies, law)
    reward = load_reward(Lexicon(kind="lexicon", lexicon="vader", text="prompt+reply"), None)
    texts = decode([list(r) for r in replies.tokens], tokenizer, stop)
    raw = np.stack([reward.score([p] * len(texts), texts).score for p in prompts])
    rng = np.random.default_rng(1)
    drawn = np.stack([rng.choice(len(texts), SAMPLES, p=p / p.sum()) for p in np.exp(log_base)])
    standard = StandardReward({"whole": reward}, {"whole": np.take_along_axis(raw, drawn, axis=1)})
    scale = standard._scales["whole"].scale
    centred = (raw - mean(log_base, raw)[:, None]) / scale
    own, other = np.arange(PROMPTS), np.arange(PROMPTS, len(prompts))
    laws = {"base": log_base, "tilt": tilt(log_base, centred, BETA)}
    laws["per-token optimum"] = per_token_optimum(log_base, centred, BETA, replies.tokens)
    worth = {name: objective(laws[name], log_base, centred) for name in laws}
    print(f"𝒥 on {PROMPTS} prompts: " + ", ".join(f"{n} {v[own].mean():.4f}" for n, v in worth.items()))
    print(f"𝒥 on {len(other)} others: " + ", ".join(f"{n} {v[other].mean():.4f}" for n, v in worth.items()))
    print("| objective | ended | KL | share of limit | regret | regret, others | KL(π‖per-token) | CPU s |", flush=True)
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for name in given.objectives or RUNS:
        settings = RUN | {"objective": name} | RUNS[name]
        settings |= {"steps": min(given.steps, settings["steps"])} if given.steps else {}
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            task = Task(
                settings=settings,
                base=base,
                sent=sent,
                prompts=prompts,
                law=law,
                longest=LONGEST,
                reward=standard,
                samples=[[list(replies.tokens[i]) for i in row] for row in drawn],
                tokenizer=tokenizer,
                stop=stop,
                scratch=Path(folder),
                trained_on=own,
            )
            rows = train(task, Path(folder, "model"), Path(folder, "checkpoint.pt"), "")
            policy = exact_logprobs(load_exact(Path(folder, "model")), sent, replies, law)
        spent = kl(policy, log_base)
        best = limit(log_base[own], centred[own], spent[own])
        share = gain(policy, log_base, centred)[own].mean() / gain(best.law, log_base[own], centred[own]).mean()
        regret = worth["tilt"] - objective(policy, log_base, centred)
        to_grpo = kl(policy, laws["per-token optimum"])[own].mean()
        how = ending(rows, settings)
        print(
            f"| {name} | {how['ended']} {how['steps']} | {spent[own].mean():.3f} | {share:.1%} "
            f"| {regret[own].mean():.4f} | {regret[other].mean():.4f} | {to_grpo:.4f} "
            f"| {time.process_time() - began:.0f} |",
            flush=True,
        )


def objective(law: np.ndarray, base: np.ndarray, reward: np.ndarray) -> np.ndarray:
    return gain(law, base, reward) - BETA * kl(law, base)


if __name__ == "__main__":
    sys.exit(main())
