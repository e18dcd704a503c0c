"""Replies from the tilt itself: sequential Monte Carlo along λ = 1/β, with moves that redraw the end of a reply.

From the base at λ = 0, particles are resampled by e^{Δλ r} at each level. Then each is moved: a reply keeps the tokens
before a cut, the base draws the rest again, and the new reply r' is accepted with probability min(1, e^{λ (r' − r)}).
The cut is drawn from a law that does not depend on the reply, and a cut beyond the reply's end is no move. So the
base's probabilities cancel, and moves leave the level's tilt unchanged (docs/theory.md, "Tempered sampling").

All randomness is a function of (seed, key of the prompt, level, move, particle). So a run continues from its last level
with the same result. With one ladder of λ for all, a prompt's replies do not depend on the other prompts of its job.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignment_limits.ensembles.scores import Array, check_keys, check_scores, splitmix
from alignment_limits.errors import EstimateError

Tokens = tuple[int, ...]
Whole = NDArray[np.int64]
_RESAMPLE, _CUT, _LENGTH, _ACCEPT, _SEED = range(5)  # purposes of random numbers
BEYOND = 1.2  # times the KL asked for: runs with fewer moves must reach it, too
STEEPEST = 1e6  # λ in units of 1 / sd: beyond it particles differ in nothing that the reward sees


class World(Protocol):
    """A base model and a reward, for replies to numbered prompts."""

    def extend(self, prompts: Sequence[int], kept: Sequence[Tokens], seeds: Sequence[int]) -> Sequence[Tokens]:
        """Draw the rest of replies from the base.

        Args:
            prompts: the number of each reply's prompt.
            kept: the first tokens of each reply; none, to draw a whole reply.
            seeds: of the new tokens, one for each reply.

        Returns:
            Whole replies, with their stop token if they have one.
        """
        ...

    def reward(self, prompts: Sequence[int], replies: Sequence[Tokens]) -> ArrayLike:
        """Rewards of whole replies, one for each."""
        ...


@dataclass(frozen=True)
class Level:
    """Replies to P prompts from the tilt at one λ: K particles each (at λ = 0: M replies of the base).

    Attributes:
        number: of the level; 0 is the base.
        inverse: λ = 1/β, in units of 1 / reward.
        replies: token ids [P][K], with their stop token.
        scores: rewards (P, K).
        origins: which draw each token is from (P, K, T), −1 after the end: the number of the base's reply below M, that
            of a move from M on.
        log_z: log Z(λ) of each prompt by levels (P,): the sum of log mean incremental weights.
        drawn: new tokens drawn for each prompt at this level (P,).
        proposed, accepted: moves that drew a new end, and those that were accepted (P,).
    """

    number: int
    inverse: float
    replies: list[list[Tokens]]
    scores: Array
    origins: Whole
    log_z: Array
    drawn: Whole
    proposed: Whole
    accepted: Whole

    @classmethod
    def base(cls, replies: Sequence[Sequence[Sequence[int]]], scores: ArrayLike) -> "Level":
        """Replies of the base as level 0.

        Args:
            replies: token ids [P][M].
            scores: their rewards (P, M).

        Returns:
            The level.

        Raises:
            EstimateError: prompts differ in their number of replies, or scores are of other replies.

        Example:
            >>> Level.base([[(1, 0), (2, 2)]], [[0.5, 1.5]]).lengths.tolist()
            [[2, 2]]
        """
        array = check_scores(scores, "reward")
        rows = [[tuple(reply) for reply in row] for row in replies]
        if len(rows) != len(array) or any(len(row) != array.shape[1] for row in rows) or np.isnan(array).any():
            raise EstimateError(
                f"Tempered sampling starts from the same number of replies to every prompt, each with a score; there "
                f"are scores of shape {array.shape}, and {min(map(len, rows))} to {max(map(len, rows))} replies."
            )
        lengths = _lengths(rows)
        place = np.where(np.arange(lengths.max()) < lengths[:, :, None], np.arange(array.shape[1])[:, None], -1)
        none = np.zeros(len(array), dtype=np.int64)
        return cls(0, 0.0, rows, array, place, np.zeros(len(array)), lengths.sum(axis=1), none, none)

    @property
    def lengths(self) -> Whole:
        """Tokens of each reply (P, K)."""
        return _lengths(self.replies)

    @property
    def kl(self) -> Array:
        """KL(π_β‖π₀) of each prompt (P,) in nats, from this level's particles alone."""
        return np.asarray(self.inverse * self.scores.mean(axis=1) - self.log_z)

    @property
    def draws(self) -> Array:
        """Different draws that the first tokens of a prompt's replies are from (P,). They mix most slowly."""
        return np.array([len(np.unique(row)) for row in self.origins[:, :, 0]], dtype=np.float64)

    def renewed(self, base: int) -> Array:
        """Share of each prompt's tokens that were drawn after level 0 (P,), with `base` replies of the base."""
        present = self.origins >= 0
        return np.asarray(np.sum(self.origins >= base, axis=(1, 2)) / np.sum(present, axis=(1, 2)))


@dataclass(frozen=True)
class Tempering:
    """How to go from the base to the tilt.

    Attributes:
        kl: levels are added until the mean KL is this, nats.
        particles: K, of each prompt.
        moves: of each particle at each level.
        ess: λ grows until the effective share of the particles, a mean over prompts, falls to this. A larger share
            gives more levels.
        ladder: λ of the levels, ascending, in place of `kl` and `ess`.
        seed: of everything.
        most: number of levels at most.

    Example:
        >>> Tempering(kl=4.0).particles
        64
    """

    kl: float = 6.0
    particles: int = 64
    moves: int = 4
    ess: float = 0.9
    ladder: tuple[float, ...] = ()
    seed: int = 0
    most: int = 500


def temper(
    world: World, base: Level, settings: Tempering, *, start: Level | None = None, keys: ArrayLike | None = None
) -> Iterator[Level]:
    """Draw replies from tilts at growing λ, level by level.

    Args:
        world: the base model and the reward.
        base: replies of the base, at least as many as particles make sense.
        settings: particles, moves, and how far to go.
        start: the last level that exists already, to continue a run; default: the base.
        keys: integers (P,) that name the prompts in random draws; default: row numbers.

    Returns:
        The levels after `start`. They end at the KL, at the end of the ladder, or where the particles of most prompts
        have the same reward, so that a larger λ changes nothing.

    Raises:
        EstimateError: a reward that is not finite.

    Example:
        >>> class Coins:  # the reward counts heads of four coins
        ...     def extend(self, prompts, kept, seeds):
        ...         new = [np.random.default_rng(seed).integers(0, 2, 4 - len(k)) for k, seed in zip(kept, seeds)]
        ...         return [(*k, *map(int, rest)) for k, rest in zip(kept, new)]
        ...     def reward(self, prompts, replies):
        ...         return np.sum(replies, axis=1)
        >>> start = np.random.default_rng(0).integers(0, 2, (16, 64, 4))
        >>> base = Level.base(start.tolist(), start.sum(axis=2))
        >>> *_, last = temper(Coins(), base, Tempering(ladder=(0.5, 1.0)))
        >>> bool(abs(last.scores.mean() - 4 / (1 + np.exp(-1.0))) < 0.1)  # each coin is tilted by e
        True

    References:
        Del Moral et al. (2006), "Sequential Monte Carlo samplers"; the move as a decoder: arXiv 2504.03790;
        docs/theory.md, "Tempered sampling".
    """
    level, names, lengths = start or base, check_keys(keys, len(base.scores)), base.lengths
    while True:
        if settings.ladder:
            above = [each for each in settings.ladder if each > level.inverse]
            if not above:
                return
            inverse = above[0]
        else:
            step = next_step(level.scores, settings.ess)
            if level.kl.mean() >= BEYOND * settings.kl or level.number >= settings.most or not np.isfinite(step):
                return
            inverse = level.inverse + step
        level = _advance(world, level, inverse, settings, lengths, names)
        yield level


def next_step(scores: Array, ess: float) -> float:
    """The Δλ at which weights e^{Δλ r} have this effective share of the particles, a mean over prompts.

    Args:
        scores: rewards of the particles (P, K).
        ess: between 0 and 1.

    Returns:
        Δλ; infinite if no step is so large, because most prompts' particles have their best reward.

    Example:
        >>> round(next_step(np.random.default_rng(0).normal(size=(16, 4096)), 0.9), 1)  # e^{-Δλ²} of Gaussian rewards
        0.3
    """
    sd = float(scores.std(axis=1).mean())
    if not sd > 0 or _effective_share(scores, STEEPEST / sd) > ess:
        return float("inf")
    low, high = 0.0, 1.0 / sd
    while _effective_share(scores, high) > ess:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _effective_share(scores, middle) > ess else (low, middle)
    return low


def _effective_share(scores: Array, step: float) -> float:
    weights = np.exp(step * (scores - scores.max(axis=1, keepdims=True)))
    return float((weights.sum(axis=1) ** 2 / ((weights**2).sum(axis=1) * scores.shape[1])).mean())


def _lengths(replies: Sequence[Sequence[Tokens]]) -> Whole:
    return np.array([[len(reply) for reply in row] for row in replies], dtype=np.int64)


def _advance(world: World, level: Level, inverse: float, settings: Tempering, lengths: Whole, keys: Whole) -> Level:
    """The next level: resample particles by their incremental weights, then move each of them.

    Args:
        world, settings: as for `temper`.
        level: the last level.
        inverse: λ of the next one.
        lengths: tokens of the base's replies (P, M).
        keys: of the prompts (P,).
    """
    number, step, k = level.number + 1, inverse - level.inverse, settings.particles
    best = level.scores.max(axis=1, keepdims=True)
    weights = np.exp(step * (level.scores - best))
    log_z = level.log_z + step * best[:, 0] + np.log(weights.mean(axis=1))

    def uniform(purpose: int, move: int = 0, width: int = k) -> Array:
        return counters(settings.seed, keys, (number, move, purpose), width)[1]

    # systematic resampling: one random number for each prompt
    below = weights.cumsum(axis=1) / weights.sum(axis=1, keepdims=True)
    at = (np.arange(k) + uniform(_RESAMPLE, width=1)) / k
    chosen = np.minimum((at[:, :, None] > below[:, None, :]).sum(axis=2), level.scores.shape[1] - 1)
    replies = [[row[j] for j in picks] for row, picks in zip(level.replies, chosen, strict=True)]
    scores = np.take_along_axis(level.scores, chosen, axis=1)
    origins = np.take_along_axis(level.origins, chosen[:, :, None], axis=1)
    drawn, proposed, accepted = (np.zeros(len(scores), dtype=np.int64) for _ in range(3))
    for move in range(1, settings.moves + 1):
        # A uniform position of a random reply of the base: this law does not depend on the particle.
        of = (uniform(_LENGTH, move) * lengths.shape[1]).astype(np.int64)
        cut = (uniform(_CUT, move) * np.take_along_axis(lengths, of, axis=1)).astype(np.int64)
        rows, columns = np.nonzero(cut < _lengths(replies))
        if not len(rows):
            continue
        seeds = counters(settings.seed, keys, (number, move, _SEED), k)[0][rows, columns].tolist()
        cuts = cut[rows, columns].tolist()
        kept = [replies[i][j][:c] for i, j, c in zip(rows, columns, cuts, strict=True)]
        offered = [tuple(reply) for reply in world.extend(rows.tolist(), kept, seeds)]
        rewards = np.asarray(world.reward(rows.tolist(), offered), dtype=np.float64)
        if not np.isfinite(rewards).all():
            bad = int(np.argmin(np.isfinite(rewards)))
            raise EstimateError(f"The reward of a reply to prompt {rows[bad]} is {rewards[bad]}; fix the reward.")
        np.add.at(drawn, rows, [len(reply) - c for reply, c in zip(offered, cuts, strict=True)])
        np.add.at(proposed, rows, 1)
        change = inverse * (rewards - scores[rows, columns])
        won = np.log1p(-uniform(_ACCEPT, move)[rows, columns]) < change
        np.add.at(accepted, rows[won], 1)
        longest = max(origins.shape[2], *map(len, offered))
        origins = np.pad(origins, ((0, 0), (0, 0), (0, longest - origins.shape[2])), constant_values=-1)
        draw = lengths.shape[1] + ((number - 1) * settings.moves + move - 1) * k
        for n in np.flatnonzero(won):
            i, j, c, reply = rows[n], columns[n], cuts[n], offered[n]
            replies[i][j], scores[i, j] = reply, rewards[n]
            origins[i, j, c : len(reply)], origins[i, j, len(reply) :] = draw + j, -1
    return Level(number, inverse, replies, scores, origins, log_z, drawn, proposed, accepted)


def counters(seed: int, keys: NDArray[np.int64], place: tuple[int, ...], width: int) -> tuple[NDArray[np.int64], Array]:
    """Random numbers of a place in a computation: a function of (seed, key of the prompt, place, column) alone.

    Args:
        seed: of the computation.
        keys: integers that name the prompts (P,).
        place: whole numbers that name the place.
        width: numbers for each prompt.

    Returns:
        63-bit whole numbers (P, width), and uniform numbers in [0, 1) of the same bits.

    Example:
        >>> whole, uniform = counters(0, np.array([7, 8]), (1, 2), 3)
        >>> uniform.shape, bool((counters(0, np.array([8]), (1, 2), 3)[1] == uniform[1:]).all())
        ((2, 3), True)
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    state = splitmix(keys.astype(np.uint64) * golden + np.uint64(seed % 2**63) + golden)
    for number in place:
        state = splitmix(state + np.uint64(0x9E3779B97F4A7C15 * (number + 1) % 2**64))
    draws = splitmix(state[:, None] + golden * np.arange(1, width + 1, dtype=np.uint64)[None, :])
    return (draws >> np.uint64(1)).astype(np.int64), (draws >> np.uint64(11)).astype(np.float64) * 2.0**-53
