"""A tiny study to which something happens while it runs.

All of it is real but the language model, which is replaced in the project's own copy of the library by
letters from the seeds: its start-up is most of a test's time and no fault depends on it.
"""

import os
import re
import subprocess
import time
from collections import Counter
from pathlib import Path

import polars as pl
from project import Project

SMALLER = {
    "rewards": {name: {"kind": "python", "function": f"own_rewards:{name}"} for name in ("vowels", "letters")},
    "ensembles": {},
}
GROWN = SMALLER | {"sampling": {"samples_per_prompt": 24}}  # two shards more, named b00002
TABLES = ("link_shards", "samples_summary", "frontier", "best_of_n")
SAMPLER = '''
"""A model that draws letters."""
import numpy as np
import polars as pl
from alignment_limits.study.sampling import block_seed


def sample_shard(prompts, folder, model, sampling, *, study_seed, block, **_):
    rows = []
    for prompt in prompts["prompt_id"]:
        rng = np.random.default_rng(block_seed(study_seed, prompt, block))
        for i in range(sampling.block):
            ids = rng.integers(97, 123, rng.integers(1, sampling.max_new_tokens + 1)).tolist()
            rows.append((prompt, block * sampling.block + i, bytes(ids).decode(), ids, len(ids), -float(sum(ids)),
                         "stop", block_seed(study_seed, prompt, block)))
    names = "prompt_id sample_id text token_ids n_tokens logprob finish_reason seed".split()
    table = pl.DataFrame(rows, schema=names, orient="row")
    return table, {"tokens": 1, "tokens_per_second": 1.0, "truncation_rate": 0.0, "duplicate_rate": 0.0}
'''
# What `fault.py` says happens in a job of this name at the worst moment: all is computed, no file is in place.
TRAP = """

def _trapped(source, target, replace=os.replace):
    if os.path.exists("fault.py"):
        exec(open("fault.py").read(), {"target": str(target)})
    replace(source, target)


os.replace = _trapped
"""
HELD = """
import os, time
if target.startswith("results") and {pattern!r} in target and not os.path.exists("held"):
    open("held", "w").write(str(os.getpid()) + " ")
    while os.path.exists("fault.py"):
        time.sleep(0.02)
"""
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", re.M)


class Faulty(Project):
    expected: dict[str, pl.DataFrame]

    def copy(self, folder: Path) -> "Faulty":
        return Faulty(super().copy(folder).folder)

    @property
    def anew(self) -> bool:
        """What happens to processes, happens to those a user would have."""
        return (self.folder / "fault.py").exists()

    def prepare(self) -> None:
        library = self.folder / "workflow/alignment_limits"
        (library / "sampling/shard.py").write_text(SAMPLER)
        with (library / "files.py").open("a") as files:
            files.write(TRAP)
        self.study(SMALLER)

    def shards(self, pattern: str) -> list[Path]:
        return sorted((self.folder / "results/shared").glob(f"*/{pattern}.parquet"))

    def tables(self) -> dict[str, pl.DataFrame]:
        """Every table there is, shared shards included, by its path."""
        files = sorted((self.folder / "results").rglob("[!.]*.parquet"))
        return {str(f.relative_to(self.folder)): pl.read_parquet(f) for f in files}

    def fault(self, code: str) -> None:
        (self.folder / "fault.py").write_text(code)

    def hold(self, pattern: str, *arguments) -> tuple[subprocess.Popen, int]:
        """Start a run; once a job is about to put a file of this pattern in place: the run, the job's process."""
        self.fault(HELD.format(pattern=pattern))
        self.log = (self.folder / "said.txt").open("w+")
        run = subprocess.Popen(
            **self.command(*TABLES, *arguments, cores=2),
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return run, int(self.wait_for(lambda: self.read("held").endswith(" ") and self.read("held")))

    def release(self) -> None:
        (self.folder / "fault.py").unlink(missing_ok=True)

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def said(self, run: subprocess.Popen, returns: int | None) -> str:
        """What a started run said, once it has ended; None: with any but 0."""
        code = run.wait(timeout=300)
        said = self.read("said.txt")
        assert code == returns if returns is not None else code != 0, said[-4000:]
        return said

    def wait_for(self, condition, seconds=300):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"waited {seconds} s in vain:\n{self.read('said.txt')[-4000:]}"
            time.sleep(0.02)
        return found

    def resume(self, interrupted: str, *extra) -> str:
        """Run to the end: nothing but jobs in hand is made twice, no old shard at all, and the tables are right."""
        said = self.run(*TABLES, *extra, cores=2)
        started, ended = jobs(interrupted)
        in_hand = started - ended
        again = jobs(said)[0]
        assert again & started <= in_hand
        assert in_hand.total() <= 2, "one a core"
        assert all("b00002" in job for job in again if job.startswith(("sample ", "score ")))
        self.is_right()
        return said

    def is_right(self, apart_from: str | None = None) -> None:
        """The tables hold what an undisturbed run's do, and there is nothing left to do."""
        tables = {name: table for name, table in self.tables().items() if apart_from not in name.split("/")}
        assert tables.keys() == self.expected.keys()
        assert not [name for name, table in tables.items() if not table.equals(self.expected[name])]
        assert "Nothing to be done" in self.run(*TABLES, cores=2)


def jobs(said: str) -> tuple[Counter[str], Counter[str]]:
    """Jobs a run started, and those it saw finish: rule and outputs."""
    names = {}
    for rule, body in _JOB.findall(said):
        output = re.search(r"^    output: (.*)$", body, re.M)
        number = re.search(r"^    jobid: (\d+)$", body, re.M)
        names[number[1]] = f"{rule} {output[1] if output else ''}"
    ended = re.findall(r"^Finished jobid: (\d+)", said, re.M)
    return Counter(names.values()), Counter(names[number] for number in ended)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
