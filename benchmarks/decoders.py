"""Decoders at equal cost in Markov worlds: best-of-n, soft best-of-n, suffix resampling, early rejection, tempering.

    OMP_NUM_THREADS=1 python benchmarks/decoders.py [--prompts 8] [--draws 2000] [--out results/benchmarks]

writes decoders.md: one row for each decoder and strength. A world has replies of 20 tokens out of 20, and a reward for
each pair of neighbouring tokens; another world for each prompt. `cost` is the number of tokens drawn for one reply, in
units of its length. Readings by the reward are free. `gain` is in base standard deviations, the mean over prompts. `kl`
is that of the reward's law, which is the KL of the decoder where the reward alone decides (best-of-n, soft best-of-n),
and else a lower bound; so `share` of the limit at that KL is then an upper bound.

- best-of-n: the best of n replies. Soft best-of-n: one of n, with probabilities that grow as exp(reward / T).
- Suffix resampling: a Metropolis chain that starts at a base reply. A step redraws everything after a random position.
- Early rejection: n replies are begun; at each quarter of their length the better half goes on. The best is taken.
- Tempering: `limits.temper` with 64 particles, 4 moves.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alignment_limits.exact.markov import MarkovReplies, MarkovWorld
from alignment_limits.limits import Level, Tempering, temper

TOKENS, LENGTH, BINS = 20, 20, 32
KLS = (1.0, 2.0, 4.0)  # of the tilts that chains and tempering aim at
Row = tuple[str, float, np.ndarray, np.ndarray | None]  # name, cost, rewards [p, m], KL [p] if it is known


class Decoders:
    """The decoders in one world.

    Args:
        prompts: their number. draws: replies of each decoder to each prompt.
    """

    def __init__(self, prompts: int, draws: int, seed: int = 0) -> None:
        self.world = MarkovWorld.random(prompts, tokens=TOKENS, length=LENGTH, seed=seed)
        self.pairs = np.random.default_rng((seed, 1)).normal(size=(prompts, TOKENS, TOKENS))
        self.draws, self.rng = draws, np.random.default_rng((seed, 2))
        base = self.base(20_000)
        self.mean, self.sd = base.mean(axis=1), math.sqrt(base.var(axis=1).mean())

    def base(self, samples: int) -> np.ndarray:
        """Rewards [p, samples] of base replies."""
        return self.world.reward(self.pairs, self.world.sample(self.pairs, 0.0, samples, self.rng))

    def redrawn(self, replies: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Replies [p, m, length] whose tokens from position `kept` [p, m] on are drawn again from the base."""
        out, prompt = replies.copy(), np.arange(len(replies))[:, None]
        for t in range(LENGTH):
            law = self.world.step[prompt, out[:, :, t - 1]] if t else self.world.first[:, None, :]
            below = np.broadcast_to(law.cumsum(axis=-1), (*out.shape[:2], TOKENS))
            fresh = (below < self.rng.random(out.shape[:2])[..., None] * below[..., -1:]).sum(axis=-1)
            out[:, :, t] = np.where(t >= kept, fresh, out[:, :, t])
        return out

    def best_of(self, n: int, temperature: float = 0.0) -> np.ndarray:
        """Rewards of the best of n; at a temperature in base s.d., of one of the n."""
        r = self.base(n * self.draws).reshape(len(self.mean), self.draws, n)
        if not temperature:
            return r.max(axis=2)
        gumbel = -np.log(self.rng.exponential(size=r.shape))
        pick = (r / (temperature * self.sd) + gumbel).argmax(axis=2)
        return np.take_along_axis(r, pick[..., None], axis=2)[..., 0]

    def chain(self, inverse: float, steps: int) -> np.ndarray:
        """Rewards after so many steps of suffix resampling toward the tilt at λ."""
        replies = self.world.sample(self.pairs, 0.0, self.draws, self.rng)
        r = self.world.reward(self.pairs, replies)
        for _ in range(steps):
            other = self.redrawn(replies, self.rng.integers(0, LENGTH, r.shape))
            changed = self.world.reward(self.pairs, other)
            accepted = np.log(self.rng.random(r.shape)) < inverse * (changed - r)
            replies, r = np.where(accepted[..., None], other, replies), np.where(accepted, changed, r)
        return r

    def rejection(self, n: int, stages: int = 4) -> tuple[np.ndarray, float]:
        """Rewards where the better half goes on at each of the stages, and the cost."""
        prompts, cost = len(self.mean), 0.0
        replies = self.world.sample(self.pairs, 0.0, n * self.draws, self.rng)
        replies = replies.reshape(prompts, self.draws, n, LENGTH)
        at = np.arange(prompts)[:, None, None, None]
        for stage in range(1, stages + 1):
            cost += replies.shape[2] / stages
            seen = replies[..., : stage * LENGTH // stages]
            r = self.pairs[at, seen[..., :-1], seen[..., 1:]].sum(axis=-1)
            keep = max(replies.shape[2] // 2, 1) if stage < stages else 1
            best = np.argsort(-r, axis=2)[:, :, :keep]
            replies = np.take_along_axis(replies, best[..., None], axis=2)
        return np.take_along_axis(r, best, axis=2)[..., 0], cost

    def tempered(self, kl: float, particles: int = 64) -> tuple[np.ndarray, float]:
        """Rewards of the particles of the last level, and the cost of one."""
        start = self.world.sample(self.pairs, 0.0, particles, self.rng)
        base = Level.base(start.tolist(), self.world.reward(self.pairs, start))
        rewards, cost, rounds = [], [], max(1, self.draws // particles)
        for seed in range(rounds):
            levels = list(
                temper(MarkovReplies(self.world, self.pairs), base, Tempering(kl=kl, particles=particles, seed=seed))
            )
            rewards.append(levels[-1].scores)
            cost.append(1 + sum(level.drawn.sum() for level in levels) / (particles * len(self.mean) * LENGTH))
        return np.concatenate(rewards, axis=1), float(np.mean(cost))

    def rows(self) -> Iterator[Row]:
        """Every decoder at every strength."""
        whole = np.ones(len(self.mean))
        for n in (2, 4, 8, 16, 32, 64):
            yield f"best-of-{n}", n, self.best_of(n), whole * (math.log(n) - (n - 1) / n)
        for n, temperature in ((4, 0.5), (16, 0.5), (64, 0.5), (64, 0.25)):
            yield f"soft best-of-{n}, T = {temperature:g} s.d.", n, self.best_of(n, temperature), None
        for n in (4, 16, 64):
            r, cost = self.rejection(n)
            yield f"early rejection, n = {n}", cost, r, None
        for kl in KLS:
            inverse = self.world.limit(self.pairs, kl)[1]
            for steps in (4, 16, 64):
                cost = 1 + steps * (LENGTH + 1) / 2 / LENGTH
                yield f"suffix resampling to {kl:g} nats, {steps} steps", cost, self.chain(inverse, steps), None
        for kl in KLS:
            r, cost = self.tempered(kl)
            yield f"tempering to {kl:g} nats", cost, r, None

    def kl(self, rewards: np.ndarray) -> float:
        """KL of the law of rewards [p, m] from the base's, by bins of equal mass; the base's mass in them by tilts."""
        inverses = [0.0, *(self.world.limit(self.pairs, kl)[1] for kl in (0.5, 2.0, 5.0, 9.0))]
        drawn = [self.world.sample(self.pairs, inverse, 20_000, self.rng) for inverse in inverses]
        r = np.concatenate([self.world.reward(self.pairs, each) for each in drawn], axis=1)
        log_z = np.array([self.world.tilt(self.pairs, inverse)[0] for inverse in inverses])
        density = np.exp([inverse * r - z[:, None] for inverse, z in zip(inverses, log_z, strict=True)]).mean(axis=0)
        total = 0.0
        for own, base, weight in zip(rewards, r, 1 / density, strict=True):
            edges = np.quantile(own, np.linspace(0, 1, BINS + 1)[1:-1])
            mass = np.bincount(np.searchsorted(edges, base), weight, BINS) / base.size
            share = np.bincount(np.searchsorted(edges, own), minlength=BINS) / own.size
            total += float((share * np.log(share / mass)).sum())
        return total / len(rewards) - (BINS - 1) / (2 * rewards.shape[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--draws", type=int, default=2000, help="replies of each decoder to each prompt")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    given = parser.parse_args()
    decoders = Decoders(given.prompts, given.draws)
    lines = ["| decoder | cost | gain | KL | share of the limit |", "|---|--:|--:|--:|--:|"]
    for name, cost, rewards, known in decoders.rows():
        gain = float((rewards.mean(axis=1) - decoders.mean).mean())
        kl = decoders.kl(rewards) if known is None else float(known.mean())
        bound = "≥ " if known is None and not name.startswith("soft") else ""
        at_most = "≤ " if bound else ""
        share = gain / decoders.world.limit(decoders.pairs, kl)[0]
        lines.append(f"| {name} | {cost:.1f} | {gain / decoders.sd:.2f} | {bound}{kl:.2f} | {at_most}{share:.0%} |")
        print(lines[-1], flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "decoders.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
