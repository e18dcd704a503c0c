"""Through a real Slurm of one node: arrays, GPU requests, a shard out of memory, a cancelled one, a killed run."""

import subprocess
import time

import pytest
from conftest import HERE

pytestmark = pytest.mark.slurm


def until(condition, seconds=60):
    """Wait for something to hold."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return value


def running(queue):
    """Array tasks that run, once all three do."""
    tasks = [job for job, state in queue().items() if state == "RUNNING"]
    return tasks if len(tasks) == 3 else None


def test_shards_go_out_as_an_array_and_one_out_of_memory_runs_again_with_more(shards):
    """The profile as it is, but for less memory to fill: 800 MB, then twice that."""
    status, output = shards.run(*HERE, "--set-resources", "sample:mem_mb=800*attempt", "score:gpu=0", megabytes=900)
    assert status == 0, output
    assert shards.finished()
    assert "Submitted array job" in output
    once, hungry, also_once = shards.starts()
    assert len(once) == len(also_once) == 1
    assert len(hungry) == 2
    allocated = [int(line.split()[0]) for line in hungry]
    assert [round(m, -2) for m in allocated] == [800, 1600]
    assert [int(line.split()[1]) for line in hungry] == [800, 1600], "the job sees what it was given"
    assert all(line.endswith(("gpu=0", "gpu=1")) for line in once + hungry), "each has one GPU"
    assert (shards.folder / "logs/sample/0.log").read_text() == "shard 0 begins\n"


def test_a_cancelled_shard_alone_is_done_again(shards, queue):
    process = shards.start(*HERE, "--retries", "0", seconds=15)
    tasks = until(lambda: running(queue))
    until(lambda: (shards.folder / "starts-0").exists())
    second = next(task for task in tasks if task.endswith("_2"))
    subprocess.run(["scancel", second], check=True)
    output, _ = process.communicate(timeout=200)
    assert process.returncode
    assert f"Slurm job {second}: CANCELLED" in output
    assert "last lines of" in output
    assert "run again, finished files are kept" in output
    before = shards.starts()
    status, output = shards.run(*HERE)
    assert status == 0, output
    assert shards.finished()
    again = [len(after) - len(b) for b, after in zip(before, shards.starts(), strict=True)]
    assert sorted(again) == [0, 0, 1]


def test_after_the_main_process_is_killed_nothing_is_done_twice(shards, queue):
    process = shards.start(*HERE, seconds=20)
    tasks = until(lambda: running(queue))
    until(lambda: (shards.folder / "starts-2").exists())
    process.kill()
    process.communicate()
    shards.run(*HERE, "--unlock")
    status, output = shards.run(*HERE)
    assert status
    assert f"scancel {tasks[0].split('_')[0]}" in output
    until(lambda: not queue())
    status, output = shards.run(*HERE)
    assert status == 0, output
    assert shards.finished()
    assert [len(starts) for starts in shards.starts()] == [1, 1, 1]
