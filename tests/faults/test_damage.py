"""Shards that are not what they should be: the file is named, and once it is deleted the next run mends all."""

import os
import re
import time

import polars as pl
import pytest
from faulty import GROWN, TABLES, jobs


def half(shard):
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def empty(shard):
    shard.write_bytes(b"")


def flipped(shard):
    """A bit in a page of numbers, which Parquet reads as another number."""
    content = bytearray(shard.read_bytes())
    content[200] ^= 1
    shard.write_bytes(content)


def edited(shard):
    """Read, changed and written by somebody else's program."""
    pl.read_parquet(shard)[1:].write_parquet(shard)


def of_another_prompt(shard):
    shard.write_bytes(shard.with_name(shard.name.replace("p00000-00004", "p00004-00008")).read_bytes())


DAMAGE = {f.__name__.replace("_", " "): f for f in (half, empty, flipped, edited, of_another_prompt)}


@pytest.fixture
def mend(study):
    """Delete the file that a failed run names as bad, as it says, and run again."""

    def mend(shard, *again):
        said = study.run(*TABLES, check=False)
        named = re.search(r"error in \w+: (\S+) .*; delete it and run again", said)
        assert named, said
        assert study.folder / named[1] == shard
        shard.unlink()
        repaired = jobs(study.run(*TABLES))[0]
        made = {job for job in repaired if job.startswith(("sample ", "score "))} - jobs(said)[1].keys()
        old = sorted(job.split("/", 2)[2].removesuffix(".parquet") for job in made if "b00002" not in job)
        assert old == sorted(again), "of what was there, only the bad shard and what comes from it"
        study.is_right()

    return mend
