"""Errors and cost of tempered sampling in Markov worlds with exact limits (20 tokens × 20 steps, 32 prompts).

    python benchmarks/tempered.py [--studies 8] [--kls 1 3 5]
    python benchmarks/tempered.py --model results/models/<model> --prompts results/<study>/prompts.parquet

Each row is a setting: particles, moves of each particle at a level, and the effective share that decides how many
levels there are. Printed are the number of levels, the tokens drawn for one reply relative to a reply's length (of the
full run; the half run adds half of that), the acceptance at the last level, and for each KL the mean error of the
limit from the full run alone and corrected by the half run, with its standard error, and how many rows are reliable.

With a model, its throughput is measured instead: new tokens per second of levels of a language model (16 prompts × 32
particles, replies of 10 tokens, a reward that costs nothing), and of a bare call of the engine with the same requests
and other seeds, in turn. The bare call has the advantage that the beginnings of all replies are in the engine's cache.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from alignment_limits.exact.markov import MarkovReplies, MarkovWorld
from alignment_limits.limits import Level, Tempering, temper, tempered_limit

PROMPTS, SAMPLES, TOKENS, LENGTH = 32, 64, 20, 20
SETTINGS = (
    (64, 4, 0.9),
    (16, 4, 0.9),
    (32, 4, 0.9),
    (128, 4, 0.9),
    (64, 2, 0.9),
    (64, 8, 0.9),
    (64, 4, 0.7),
    (64, 4, 0.97),
)


def study(seed: int, particles: int, moves: int, ess: float, kls: list[float]) -> dict[str, np.ndarray]:
    """Both runs of one world."""
    pairs = np.random.default_rng((seed, 1)).normal(size=(PROMPTS, TOKENS, TOKENS))
    chains = MarkovWorld.random(PROMPTS, tokens=TOKENS, length=LENGTH, seed=seed)
    start = chains.sample(pairs, 0.0, SAMPLES, np.random.default_rng((seed, 2)))
    base, world = Level.base(start.tolist(), chains.reward(pairs, start)), MarkovReplies(chains, pairs)
    settings = Tempering(kl=max(kls), particles=particles, moves=moves, ess=ess, seed=seed)
    full = [base, *temper(world, base, settings)]
    ladder = tuple(level.inverse for level in full[1:])
    smaller = Tempering(particles=particles // 2, moves=moves, ladder=ladder, seed=seed + 10**6)
    table = tempered_limit(full, [base, *temper(world, base, smaller)], kls, replicates=500)
    exact, rows = np.array([chains.limit(pairs, kl)[0] for kl in kls]), slice(0, len(kls))
    return {
        "full": table.gain_full[rows] / exact - 1,
        "error": table.gain[rows] / exact - 1,
        "reliable": table.reliable[rows],
        "levels": np.array([len(full) - 1]),
        "cost": table.tokens[-1:] / LENGTH,
        "acceptance": table.acceptance[-1:],
    }


class Recorded:
    """An engine that keeps its requests."""

    def __init__(self, engine) -> None:
        self.engine, self.requests = engine, []

    def generate(self, requests, stop, progress):
        self.requests.append(requests)
        return self.engine.generate(requests, stop, progress)


def throughput(folder: Path, prompts: Path, rounds: int) -> None:
    """Tokens per second of levels, and of the same requests in bare calls."""
    import functools
    import io
    import os
    from dataclasses import replace

    import polars as pl
    from tqdm import tqdm

    from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
    from alignment_limits.sampling.shard import encode, engine_class
    from alignment_limits.sampling.tempered import LanguageWorld
    from alignment_limits.study.base import Source
    from alignment_limits.study.sampling import Model, Sampling

    tokenizer = load_tokenizer(folder)
    texts = pl.read_parquet(prompts)["text"].to_list()[:16]
    sent, stop = encode(texts, tokenizer, "none"), stop_tokens(folder, tokenizer)
    sampling, model = Sampling(max_new_tokens=10), Model(name="model", source=Source(path=str(folder)))
    engine = Recorded(engine_class("vllm")(folder, model, sampling, max(map(len, sent)) + 10, os.cpu_count() or 1))

    def reward(rows, replies):
        return np.array([sum(token % 7 for token in reply) / 10 for reply in replies])

    names = [str(i) for i in range(len(sent))]
    silent = functools.partial(tqdm, file=io.StringIO())  # vLLM divides by a bar's time
    world = LanguageWorld(engine, names, sent, 10, stop, reward, silent)
    start = [world.extend([i] * 32, [()] * 32, range(100 * i, 100 * i + 32)) for i in range(len(sent))]
    level = base = Level.base(start, [reward(None, row) for row in start])
    ratios = []
    print("| round | tokens/s of a level | tokens/s of a bare call | ratio |")
    print("|--:|--:|--:|--:|")
    for i in range(rounds):
        engine.requests, began = [], time.perf_counter()
        ladder = Tempering(particles=32, moves=2, ladder=(0.2 * (i + 1),), seed=i)
        level = next(temper(world, base, ladder, start=level))
        ours = level.drawn.sum() / (time.perf_counter() - began)
        asked = [[replace(r, seed=r.seed + 1) for r in requests] for requests in engine.requests]
        began = time.perf_counter()
        out = [engine.engine.generate(requests, stop, world.progress) for requests in asked]
        bare = sum(len(c.token_ids) for each in out for (c,) in each) / (time.perf_counter() - began)
        ratios.append(ours / bare)
        print(f"| {i + 1} | {ours:.0f} | {bare:.0f} | {ours / bare:.2f} |", flush=True)
    print(f"median ratio {np.median(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--kls", type=float, nargs="+", default=[1.0, 3.0, 5.0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.model:
        throughput(given.model, given.prompts, given.rounds)
        return
    each = " | ".join(f"{kl:g} nats: full run | corrected | reliable" for kl in given.kls)
    print(f"| particles | moves | effective share | levels | cost | acceptance | {each} |")
    print("|" + "--:|" * (6 + 3 * len(given.kls)))
    for particles, moves, ess in SETTINGS:
        runs = [study(100 + i, particles, moves, ess, given.kls) for i in range(given.studies)]
        of = {name: np.array([run[name] for run in runs], dtype=float) for name in runs[0]}
        line = f"| {particles} | {moves} | {ess:g} | {of['levels'].mean():.0f} | {of['cost'].mean():.0f} × "
        line += f"| {of['acceptance'].mean():.0%} |"
        spread = of["error"].std(axis=0, ddof=1) / np.sqrt(given.studies)
        for j in range(len(given.kls)):
            line += f" {of['full'][:, j].mean():+.1%} | {of['error'][:, j].mean():+.1%} ± {spread[j]:.1%} |"
            line += f" {of['reliable'][:, j].mean():.0%} |"
        print(line, flush=True)


if __name__ == "__main__":
    main()
