"""Tempered sampling of a shard of prompts with a language model: levels as files, levels as tables.

The sampler is `limits.temper`; here are the base model and the reward that it asks, and the files by which a killed job
continues at its last level. Every prompt has two runs, the second with half the particles, at the same λ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import ArtifactError
from alignment_limits.jobs.job import say
from alignment_limits.limits.sequential import Level, Tempering, temper
from alignment_limits.sampling.shard import Request
from alignment_limits.study.sampling import block_seed
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_key
from alignment_limits.tables.schemas.samples import TEMPERED

RUNS = ("full", "half")
Reward = Callable[[Sequence[int], Sequence[Sequence[int]]], Array]


@dataclass
class LanguageWorld:
    """A base model and a reward, as `temper` asks for them.

    Attributes:
        engine: of `sampling/`.
        prompt_ids, sent: names and tokens of the prompts.
        longest: tokens at which a reply is cut.
        stop: tokens that end a reply.
        rewards: standardised rewards of replies (token ids) to prompts by their number.
        progress: a tqdm-like class for progress bars.
        seconds: spent so far by the engine and by the reward.
        tokens: drawn so far.
    """

    engine: Any
    prompt_ids: Sequence[str]
    sent: Sequence[list[int]]
    longest: int
    stop: Sequence[int]
    rewards: Reward
    progress: Any
    seconds: dict[str, float] = field(default_factory=lambda: {"engine": 0.0, "reward": 0.0})
    tokens: int = 0

    def extend(
        self, prompts: Sequence[int], kept: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> list[tuple[int, ...]]:
        """Replies that begin with `kept`; see `limits.sequential.World`."""
        requests = [
            Request(self.prompt_ids[prompt], [*self.sent[prompt], *tokens], 1, seed, self.longest - len(tokens))
            for prompt, tokens, seed in zip(prompts, kept, seeds, strict=True)
        ]
        start = time.perf_counter()
        completions = self.engine.generate(requests, self.stop, self.progress)
        self.seconds["engine"] += time.perf_counter() - start
        self.tokens += sum(len(each.token_ids) for (each,) in completions)
        return [(*tokens, *each.token_ids) for tokens, (each,) in zip(kept, completions, strict=True)]

    def reward(self, prompts: Sequence[int], replies: Sequence[Sequence[int]]) -> Array:
        """Standardised rewards; see `limits.sequential.World`."""
        start = time.perf_counter()
        scores = self.rewards(prompts, replies)
        self.seconds["reward"] += time.perf_counter() - start
        return scores


@dataclass(frozen=True)
class Writing:
    """How levels become tables.

    Attributes:
        folder: of the levels' files.
        prompt_ids: names of the prompts.
        texts: replies (token ids) as text.
        gold: gold of replies to prompts by their number; None if it is the tempering reward.
        provenance: of the files. A file with another one is of other settings, and is not used.
    """

    folder: Path
    prompt_ids: Sequence[str]
    texts: Callable[[Sequence[Sequence[int]]], list[str]]
    gold: Reward | None
    provenance: Mapping[str, Any]

    def path(self, run: str, number: int) -> Path:
        """The file of a level."""
        return self.folder / f"{run}-{number:04d}.parquet"

    def write(self, run: str, level: Level) -> pl.DataFrame:
        """Write a level, completely or not at all."""
        table = self.table(run, level)
        write_table(table, self.path(run, level.number), TEMPERED, self.provenance)
        return table

    def read(self, run: str, number: int) -> pl.DataFrame | None:
        """The level of an earlier, killed job with the same settings; None if there is none."""
        try:
            return read_table(self.path(run, number), TEMPERED, expect={"stamp": self.provenance["stamp"]})
        except ArtifactError:
            return None

    def table(self, run: str, level: Level) -> pl.DataFrame:
        """A level as rows of the contract."""
        prompts, particles = level.scores.shape
        row = np.repeat(np.arange(prompts), particles)
        replies = [reply for each in level.replies for reply in each]
        score = level.scores.ravel()
        log_z, drawn, proposed, accepted = (
            np.repeat(each, particles) for each in (level.log_z, level.drawn, level.proposed, level.accepted)
        )
        flat = level.origins.reshape(len(replies), -1)
        columns = pl.DataFrame(
            {
                "prompt_id": [self.prompt_ids[i] for i in row],
                "run": run,
                "level": np.full(len(row), level.number),
                "particle": np.tile(np.arange(particles), prompts),
                "inverse": np.full(len(row), level.inverse),
                "text": self.texts(replies),
                "token_ids": [list(reply) for reply in replies],
                "n_tokens": [len(reply) for reply in replies],
                "score": score,
                "gold": score if self.gold is None else self.gold(row.tolist(), replies),
                "log_ratio": level.inverse * score - log_z,
                "log_z": log_z,
                "origins": [origin[: len(reply)].tolist() for origin, reply in zip(flat, replies, strict=True)],
                "drawn": drawn,
                "proposed": proposed,
                "accepted": accepted,
            }
        )
        return columns.select(pl.col(name).cast(kind) for name, kind in TEMPERED.columns.items())


def draw_levels(
    world: LanguageWorld, base: Level, settings: Tempering, ladder: Sequence[float], writing: Writing
) -> pl.DataFrame:
    """Both runs of a shard. A level is a file as soon as it is complete, and a later job continues behind the last one.

    Args:
        world: the base model and the reward.
        base: the base's replies.
        settings: of the full run.
        ladder: λ of the levels; empty: this shard chooses them.
        writing: of the levels' files.

    Returns:
        The table `tempered`, with the base's replies as level 0 of the full run.
    """
    keys = np.array([prompt_key(name) for name in writing.prompt_ids], dtype=np.int64)
    tables = [writing.table("full", base)]
    for place, run in enumerate(RUNS):
        own = replace(
            settings,
            particles=settings.particles if run == "full" else settings.particles // 2,
            ladder=tuple(ladder),
            seed=block_seed(settings.seed, f"tempered {run}", place),
        )
        levels = [base]
        while (found := writing.read(run, levels[-1].number + 1)) is not None:
            tables.append(found)
            levels.append(level_of(found))
        if len(levels) > 1:
            say(f"tempered sampling continues after level {levels[-1].number} of the {run} run")
        for level in temper(world, base, own, start=levels[-1], keys=keys):
            levels.append(level)
            tables.append(writing.write(run, level))
            say(_line(run, level, world))
        ladder = [level.inverse for level in levels[1:]]
    return pl.concat(tables)


def _line(run: str, level: Level, world: LanguageWorld) -> str:
    speed = world.tokens / max(sum(world.seconds.values()), 1e-9)
    moved = level.accepted.sum() / max(level.proposed.sum(), 1)
    return (
        f"{run} run, level {level.number}: 1/beta {level.inverse:.3g}, KL {level.kl.mean():.2f} nats, "
        f"{moved:.0%} of moves accepted, {speed:.0f} tokens/s"
    )


def level_of(table: pl.DataFrame) -> Level:
    """The level of a table with one level of one run, of the same number of replies to each prompt."""
    rows = table.sort("prompt_id", "particle")
    prompts = rows["prompt_id"].n_unique()
    shape = (prompts, rows.height // prompts)
    tokens, origins = rows["token_ids"].to_list(), rows["origins"].to_list()
    width = max(map(len, tokens))
    place = np.full((len(tokens), width), -1, dtype=np.int64)
    for i, each in enumerate(origins):
        place[i, : len(each)] = each
    first = rows.gather_every(shape[1])
    return Level(
        int(first["level"][0]),
        float(first["inverse"][0]),
        [[tuple(reply) for reply in tokens[i : i + shape[1]]] for i in range(0, len(tokens), shape[1])],
        rows["score"].to_numpy().reshape(shape).copy(),
        place.reshape(*shape, width),
        first["log_z"].to_numpy(),
        first["drawn"].to_numpy(),
        first["proposed"].cast(pl.Int64).to_numpy(),
        first["accepted"].cast(pl.Int64).to_numpy(),
    )


def ladder_of(table: pl.DataFrame) -> list[float]:
    """λ of the levels of a shard, ascending."""
    return table.filter(pl.col("level") > 0)["inverse"].unique().sort().to_list()
