"""Shards that are not what they should be: the file is named, and once it is deleted the next run mends all."""

import os
import re
import subprocess

import pytest
from faulty import GROWN, TABLES, jobs

SHARD = "p00000-00004-b00001"


def cut_in_half(study, shard):
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def with_a_flipped_bit(study, shard):
    """In a page of values, and with the time of the file as it was: only who reads it can notice."""
    content, times = bytearray(shard.read_bytes()), shard.stat()
    content[len(content) // 4] ^= 1
    shard.write_bytes(content)
    os.utime(shard, (times.st_atime, times.st_mtime))


def of_another_config(study, shard):
    """The shard of the same name that a study at another temperature makes."""
    study.study(GROWN | {"sampling": {"temperature": 0.5}})
    known = set(study.shards(f"samples/{SHARD}"))
    other = next(str(shard.relative_to(study.folder)) for shard in known).split("/")
    plan = study.run("--dry-run", "samples_summary")
    other[2] = (set(re.findall(r"shared/(tiny-\w+)/samples", plan)) - {other[2]}).pop()
    study.run("/".join(other))
    study.study(GROWN)
    shard.write_bytes((study.folder / "/".join(other)).read_bytes())
    return other[2]


@pytest.mark.parametrize(
    ("damage", "stage", "again"),
    [
        (cut_in_half, "samples", ["sample", "score", "score"]),
        (with_a_flipped_bit, "samples", ["sample", "score", "score"]),
        (with_a_flipped_bit, "scores/letters-*", ["score"]),
        (of_another_config, "samples", ["sample", "score", "score"]),
    ],
)
def test_a_shard_is_bad(study, damage, stage, again):
    (shard,) = study.shards(f"{stage}/{SHARD}")
    other = damage(study, shard)
    said = study.run(*TABLES, check=False)
    named = re.search(r"error in \w+: (\S+) .*; delete it and run again", said)
    assert named, said[-4000:]
    assert study.folder / named[1] == shard
    shard.unlink()
    made = jobs(study.run(*TABLES))[0]
    old = [job for job in made.elements() if job.startswith(("sample ", "score ")) and "b00002" not in job]
    assert sorted(job.split()[0] for job in old) == again, "of what was there, the bad shard and what comes from it"
    assert all(SHARD in job for job in old)
    study.is_right(apart_from=other)


def shift(study, seconds):
    """As if all there is had been made at another time."""
    for file in (study.folder / "results").rglob("*"):
        times = file.lstat()
        os.utime(file, (times.st_atime + seconds, times.st_mtime + seconds), follow_symlinks=False)


def only_new_shards(said):
    made = jobs(said)[0]
    assert not {"fetch", "convert", "prompts_chunk", "prompts"} & {job.split()[0] for job in made}
    return all("b00002" in job for job in made if job.startswith(("sample ", "score ")))


def test_the_clock_jumps_back(study):
    """Snakemake refuses files older than their inputs. This is reported before the work, with the remedy."""
    shift(study, 86400)
    said = study.run(*TABLES, check=False)
    command = re.search(r"the clock was set back. Run `(.*)`, then", said)
    assert command, said[-4000:]
    subprocess.run(command[1], shell=True, check=True, cwd=study.folder)
    assert only_new_shards(study.run(*TABLES))
    study.is_right()


def test_the_clock_jumps_on(study):
    shift(study, -86400)
    assert only_new_shards(study.run(*TABLES))
    study.is_right()
