"""Coverage of what a reward costs, of bounds of a KL from scores alone, and of noise-free gains, in known worlds.

    OMP_NUM_THREADS=1 python benchmarks/costs_coverage.py --studies 200

draws studies of 64 prompts x 64 samples and writes to standard output, one line a world, how often the 95 % intervals
hold the known value. Parts (option --parts): rules, shortfall, closed, noise. The truths of rules are from 12,000
prompts, as a rule that is learned from 32 samples has no closed form.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.stats import norm

from alignment_limits.limits import CorrectedCurve
from alignment_limits.limits.worlds import MIXTURES, WORLDS, Levels, World
from alignment_limits.tradeoffs import kl_from_scores, label_noise, reward_for_cost, shortfall

PROMPTS, SAMPLES = 64, 64
EVERY = WORLDS | MIXTURES
KLS = [0.1, 0.5, 1.0]
RULED = ("gaussian", "uniform", "exponential", "spread0.3", "spread0.6", "clusters", "passrates", "rubric1to10")
SPLIT = ("gaussian", "uniform", "spread0.3", "spread0.6", "clusters", "rubric1to10", "bernoulli", "passrates")
Array = np.ndarray


def share(inside: list[Array]) -> str:
    """Shares in per cent, of those that are not NaN; how many are."""
    values = np.array(inside, dtype=float)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(values).sum(axis=0)
        shares = np.where(known > 4, np.nansum(values, axis=0) / np.maximum(known, 1), np.nan)
    return " / ".join(f"{100 * s:.0f}" if np.isfinite(s) else "–" for s in shares)


def where(reliable: Array, low: Array, high: Array, truth: Array) -> Array:
    """Whether an interval holds the truth, NaN where it is not reliable."""
    slack = 1e-9 * np.abs(truth) + 1e-12
    return np.where(reliable, (low - slack <= truth) & (truth <= high + slack), np.nan)


def rules(studies: int, only: str) -> Iterator[str]:
    """Gain and extra of the three rules at n = 2, 4, 16."""
    ns = [2, 4, 16]
    yield "| world | reliable | gain: n for each prompt | stopping | extra: n for each prompt | stopping |"
    for name in chosen(RULED, only):
        world = EVERY[name]
        many = [
            reward_for_cost(world.draw(np.random.default_rng(10**6 + i), 4000, 64), ns=ns, replicates=100)
            for i in range(3)
        ]
        truth = {c: np.mean([getattr(each, c) for each in many], axis=0) for c in ("gain", "extra")}
        inside: dict[str, list[Array]] = {"gain": [], "extra": [], "reliable": []}
        for seed in range(studies):
            scores = world.draw(np.random.default_rng(seed), PROMPTS, SAMPLES)
            table = reward_for_cost(scores, ns=ns, replicates=1000, seed=seed, clusters=labels(world))
            inside["reliable"].append(table.reliable)
            for c, value in truth.items():
                low, high = getattr(table, f"{c}_low"), getattr(table, f"{c}_high")
                inside[c].append(where(table.reliable, low, high, value))
        each, stop = table.method == "n-per-prompt", table.method == "stopping"
        cells = [share([i[rule] for i in inside[c]]) for c in ("gain", "extra") for rule in (each, stop)]
        yield f"| {name} | {100 * np.mean(inside['reliable']):.0f} % | {' | '.join(cells)} |"


def labels(world: World) -> Array | None:
    """The cluster of each prompt, if there are clusters."""
    found: Array | None = getattr(world, "labels", lambda prompts: None)(PROMPTS)
    return found


def parts_of(world: World, n: int) -> tuple[float, float]:
    """The two parts of best-of-n's shortfall."""
    kl, gain = world.best_of_n(n)
    middle = world.limit_per_prompt(kl)
    if isinstance(world, Levels):  # its KL differs by prompt
        law = world.population
        upper = np.cumsum(law, axis=1)
        upper[:, -1] = 1.0
        best = np.diff(upper**n, axis=1, prepend=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(best > 0, best * np.log(best / law), 0.0).sum(axis=1)
        low, high = np.full(len(law), 1e-9), np.full(len(law), 1e4)
        for _ in range(200):
            at = np.sqrt(low * high)
            above = world._tilts(at)[0] > each
            low, high = np.where(above, low, at), np.where(above, at, high)
        middle = float(world._tilts(low)[1].mean())
    return middle - gain, world.limit(kl) - middle


def of_shortfall(studies: int, only: str) -> Iterator[str]:
    """Both parts at n = 2, 4."""
    ns = [2, 4]
    yield "| world | exact: not the tilt | exact: same n | reliable | not the tilt, n = 2 / 4 | same n |"
    for name in chosen(
        ("gaussian", "uniform", "spread0.3", "spread0.6", "clusters", "rubric1to10", "bernoulli", "passrates"), only
    ):
        world = EVERY[name]
        exact = np.array([parts_of(world, n) for n in ns]).T
        inside: list[list[Array]] = [[], [], []]
        for seed in range(studies):
            scores = world.draw(np.random.default_rng(seed), PROMPTS, SAMPLES)
            t = shortfall(scores, ns=ns, replicates=1000, seed=seed, clusters=labels(world))
            inside[0].append(where(t.reliable, t.not_tilt_low, t.not_tilt_high, exact[0]))
            inside[1].append(where(t.reliable, t.same_n_low, t.same_n_high, exact[1]))
            inside[2].append(t.reliable)
        shown = " | ".join(" / ".join(f"{value:.3f}" for value in row) for row in exact)
        yield f"| {name} | {shown} | {100 * np.mean(inside[2]):.0f} % | {share(inside[0])} | {share(inside[1])} |"


Draw = Callable[[np.random.Generator, int], tuple[Array, Array]]


def tilted(spread: float, inverse: float) -> Draw:
    """Gaussian rewards with lognormal spreads, and replies of their tilt."""

    def draw(rng: np.random.Generator, replies: int) -> tuple[Array, Array]:
        sd = rng.lognormal(sigma=spread, size=(PROMPTS, 1))
        base, own = sd * rng.normal(size=(PROMPTS, SAMPLES)), sd * rng.normal(size=(PROMPTS, replies))
        return base, own + inverse * sd**2

    return draw


def picked(spread: float, n: int) -> Draw:
    """The same rewards, and replies of best-of-n."""

    def draw(rng: np.random.Generator, replies: int) -> tuple[Array, Array]:
        sd = rng.lognormal(sigma=spread, size=(PROMPTS, 1))
        own = rng.normal(size=(PROMPTS, replies, n)).max(axis=2)
        return sd * rng.normal(size=(PROMPTS, SAMPLES)), sd * own

    return draw


def exponential(rng: np.random.Generator, replies: int) -> tuple[Array, Array]:
    """Exponential rewards, and replies of their tilt at lambda = 1/2."""
    return rng.exponential(size=(PROMPTS, SAMPLES)), 2 * rng.exponential(size=(PROMPTS, replies))


def passing(rng: np.random.Generator, replies: int) -> tuple[Array, Array]:
    """0/1 rewards, pass rates of 0.1 and 0.5, and a policy that passes with 0.3 and 0.8."""
    p, q = (np.repeat(rates, PROMPTS // 2)[:, None] for rates in ([0.1, 0.5], [0.3, 0.8]))
    draws = rng.random((PROMPTS, SAMPLES)), rng.random((PROMPTS, replies))
    return (draws[0] < p).astype(float), (draws[1] < q).astype(float)


def closed(studies: int, only: str) -> Iterator[str]:
    """The bound, and two others: the KL at which the limit, corrected or not, reaches the lower end of the gain."""
    of_rates = np.mean([q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)) for p, q in ((0.1, 0.3), (0.5, 0.8))])
    policies: dict[str, tuple[Draw, float]] = {
        "the base itself": (tilted(0.0, 0.0), 0.0),
        "tilt": (tilted(0.0, 1.0), 0.5),
        "tilt, spreads": (tilted(0.6, 1.0), float(np.exp(0.72) / 2)),
        "best-of-4": (picked(0.0, 4), float(np.log(4) - 3 / 4)),
        "best-of-16": (picked(0.0, 16), float(np.log(16) - 15 / 16)),
        "best-of-8, spreads": (picked(0.6, 8), float(np.log(8) - 7 / 8)),
        "tilt, exponential": (exponential, float(1 - np.log(2))),
        "pass rates": (passing, float(of_rates)),
    }
    yield "| policy | KL | replies | bound | at least | valid | by the limit | valid | plug-in limit | valid |"
    for name in chosen(policies, only):
        draw, kl = policies[name]
        for replies in (1, 4):
            rows = []
            for seed in range(studies):
                base, own = draw(np.random.default_rng(seed), replies)
                t = kl_from_scores({"r": base}, {"policy": {"r": own}}, "r", replicates=1000, seed=seed)
                at = np.linspace(0.0, 3.5, 71)
                points = CorrectedCurve(base, seed=seed).at(at)
                curves = [np.nan_to_num(a.mean(axis=0), nan=99.0) for a in (points.values[..., 0], points.plugin)]
                rows.append([t.kl_bound[0], t.kl_at_least[0], *(np.interp(t.gain_low[0], c, at) for c in curves)])
            values = np.array(rows)
            valid = 100 * np.mean(values[:, 1:] <= kl + 1e-9, axis=0)
            means = values.mean(axis=0)
            cells = [f"{means[0]:.2f}", *(f"{m:.2f} | {v:.0f} %" for m, v in zip(means[1:], valid, strict=True))]
            yield f"| {name} | {kl:.2f} | {replies} | {' | '.join(cells)} |"


def judged(kind: str, rng: np.random.Generator, shape: tuple[int, int], count: int) -> tuple[Array, list[Array]]:
    """Noise-free rewards and `count` judgements of them."""
    sd = rng.lognormal(sigma=0.4, size=(shape[0], 1)) if kind == "spreads" else 1.0
    noise = {"little noise": 0.4, "much noise": 2.0, "marks 1 to 10": 1.2}.get(kind, 1.0)
    if kind == "uniform":
        reward = np.sqrt(12.0) * rng.random(shape)
    elif kind == "marks 1 to 10":
        seen = 5.5 + 2 * rng.normal(size=shape)
        marks = [np.clip(np.round(seen + noise * rng.normal(size=shape)), 1, 10) for _ in range(count)]
        grid = np.linspace(seen.min(), seen.max(), 2001)
        below = norm.cdf((np.arange(1.5, 10) - grid[:, None]) / noise)
        return np.interp(seen, grid, 10 - below.sum(axis=1)), marks
    elif kind == "0 or 1":
        reward = rng.beta(2, 3, size=shape)
        return reward, [(rng.random(shape) < reward).astype(float) for _ in range(count)]
    else:
        reward = sd * rng.normal(size=shape)
    scale = np.exp(0.5 * reward) if kind == "more noise in good replies" else noise
    return reward, [reward + scale * rng.normal(size=shape) for _ in range(count)]


def noise(studies: int, only: str) -> Iterator[str]:
    """The limit without noise at 0.1, 0.5 and 1 nat, its bounds, and gains of best-of-n."""
    ns = [2, 8]
    yield "| world | reliability | limit's error, % | reliable, % | holds, % | bounds hold, % | gain holds, % |"
    kinds = ("Gaussian", "three judgements", "spreads", "little noise", "much noise", "uniform", "marks 1 to 10")
    for kind in chosen((*kinds, "0 or 1", "more noise in good replies"), only):
        count = 3 if kind == "three judgements" else 2
        shape = (1500, 1500) if kind == "spreads" else (1, 2_000_000)
        reward, marks = judged(kind, np.random.default_rng(10**6), shape, count)
        limit = np.sqrt(2 * np.array(KLS)) * np.exp(0.16) if kind == "spreads" else limit_of(reward)
        selecting = np.mean(marks[: count - 1], axis=0)
        gains = np.array([best_of(selecting, reward, n) for n in ns])
        centred = [m - m.mean(axis=1, keepdims=True) for m in (reward, marks[0])]
        known = float(np.mean(centred[0] ** 2) / np.mean(centred[1] ** 2))
        inside: list[list[Array]] = [[], [], [], [], []]
        for seed in range(studies):
            _, own = judged(kind, np.random.default_rng(seed), (PROMPTS, SAMPLES), count)
            t = label_noise(own, ns=ns, kls=KLS, replicates=1000, seed=seed)
            sure = t.limit_reliable[2:]
            inside[0].append(100 * (t.limit[2:] / limit - 1))
            inside[1].append(sure)
            inside[2].append(where(sure, t.limit_low[2:], t.limit_high[2:], limit))
            ends = np.isfinite(t.at_least[2:] + t.at_most[2:])
            inside[3].append(where(ends, t.at_least[2:], t.at_most[2:], limit))
            inside[4].append(where(t.reliable[:2], t.gain_low[:2], t.gain_high[:2], gains))
        error = " / ".join(f"{e:.1f}" for e in np.mean(inside[0], axis=0))
        yield f"| {kind} | {known:.2f} | {error} | {' | '.join(share(each) for each in inside[1:])} |"


def limit_of(reward: Array) -> Array:
    """The limit at KLS, by the tilt of very many samples."""
    r = reward - reward.mean(axis=1, keepdims=True)
    kl, gain = [], []
    for inverse in np.geomspace(0.02, 40, 120) / r.std():
        logs = inverse * r
        top = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - top)
        z = weights.mean(axis=1)
        mean = (weights * r).mean(axis=1) / z
        kl.append(np.mean(inverse * mean - np.log(z) - top[:, 0]))
        gain.append(mean.mean())
    return np.interp(np.sqrt(KLS), np.sqrt(np.maximum(kl, 0.0)), gain)


def best_of(selecting: Array, reward: Array, n: int) -> float:
    """Mean reward of the best of n, minus the mean."""
    rows, width = selecting.shape[0], selecting.shape[1] // n * n
    s, r = (each[:, :width].reshape(rows, -1, n) for each in (selecting, reward))
    return float(np.take_along_axis(r, s.argmax(axis=2)[..., None], axis=2).mean() - reward.mean())


def chosen(names: Iterable[str], only: str) -> Iterator[str]:
    """The worlds to run: all, or one."""
    return (name for name in names if only in ("", name))


PARTS = {"rules": rules, "shortfall": of_shortfall, "closed": closed, "noise": noise}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--only", default="", help="one world")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    for part in given.parts:
        print(f"\n{part}, {given.studies} studies", flush=True)
        for line in PARTS[part](given.studies, given.only):
            print(line, flush=True)


if __name__ == "__main__":
    main()
