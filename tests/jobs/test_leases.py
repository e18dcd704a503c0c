"""Jobs of one machine share its GPUs: no GPU has two jobs, none stays idle, and a killed job frees its own."""

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from alignment_limits.jobs import leases
from alignment_limits.jobs.job import device_report
from alignment_limits.jobs.leases import GpuError, asked_for, per_job, visible_gpus

CARDS = "".join(f"GPU {i}: NVIDIA H200 (UUID: GPU-{c * 4})\n" for i, c in enumerate("abcd"))
DIVIDED = "GPU 0: A100 (UUID: GPU-aaaa)\n  MIG 1g Device  0: (UUID: MIG-1)\n  MIG 1g Device  1: (UUID: MIG-2)\n"
# takes GPUs, says which, works for a while, says that it ends
JOB = """
import os, sys, time
from pathlib import Path
from alignment_limits.jobs.leases import take
take(int(sys.argv[2]), folder=Path(sys.argv[1]), patience=0.3)
names = os.environ["CUDA_VISIBLE_DEVICES"]
print(time.monotonic(), names, "torch" in sys.modules, flush=True)
time.sleep(float(sys.argv[3]))
print(time.monotonic(), flush=True)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Sets what `nvidia-smi -L` lists; a stand-in, found on PATH."""
    for name in (leases.NVIDIA, leases.AMD, leases.AMD_RUNTIME, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def lists(listing):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    lists(CARDS)
    return lists


def start(folder, count=1, seconds=0.2):
    command = [sys.executable, "-c", JOB, str(folder), str(count), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_jobs_share_the_gpus_of_a_machine(machine, tmp_path):
    """Twelve jobs, of one GPU or two: no GPU has two jobs at once, all are used, and all jobs end."""
    spans = {}
    for job in [start(tmp_path / "locks", 1 + (i % 3 == 0)) for i in range(12)]:
        said, complaint = job.communicate(timeout=60)
        assert job.returncode == 0, complaint
        (begin, names, torch), (end,) = (line.split() for line in said.splitlines())
        assert torch == "False"
        for name in names.split(","):
            spans.setdefault(name, []).append((float(begin), float(end)))
    assert spans.keys() == {f"GPU-{c * 4}" for c in "abcd"}
    for own in map(sorted, spans.values()):
        assert all(before <= after for (_, before), (after, _) in itertools.pairwise(own)), own


def test_a_killed_job_frees_its_gpus_and_a_waiting_one_says_why(machine, tmp_path):
    first = start(tmp_path / "locks", 4, 60)
    assert first.stdout.readline()
    second = start(tmp_path / "locks", 1, 0)
    complaint = second.stderr.readline()
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    said, _ = second.communicate(timeout=20)
    assert said.split()[1] == "GPU-aaaa"
    assert "waiting for 1 of 4 GPUs: other jobs of this machine use them" in complaint
    first.communicate()


def test_a_lease_takes_milliseconds(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "_kept", [])
    monkeypatch.setattr(leases, "_prepared", [])
    begin = time.perf_counter()
    for _ in range(4):
        leases.take(1, {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "PATH": os.environ["PATH"]}, folder=tmp_path / "locks")
    assert (time.perf_counter() - begin) / 4 < 0.05
    assert len(leases._kept) == 4
    for file in leases._kept:
        os.close(file)


def test_what_a_process_may_use(machine):
    here = dict(os.environ)
    assert [(g.name, g.identity) for g in visible_gpus(here)] == [(f"GPU-{c * 4}",) * 2 for c in "abcd"]
    inherited = visible_gpus(here | {"CUDA_VISIBLE_DEVICES": "3, GPU-bb,-1,0"})
    assert [(g.name, g.identity) for g in inherited] == [("3", "GPU-dddd"), ("GPU-bb", "GPU-bbbb")]
    assert visible_gpus(here | {"CUDA_VISIBLE_DEVICES": ""}) == []
    machine(DIVIDED)
    assert [g.name for g in visible_gpus(here)] == ["MIG-1", "MIG-2"]
    assert [g.identity for g in visible_gpus(here | {"CUDA_VISIBLE_DEVICES": "MIG-2"})] == ["MIG-2"]


def test_indices_that_slurm_granted_are_those_of_its_job(tmp_path):
    """Without nvidia-smi index 0 may be another GPU in another job."""
    granted = [{"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_ID": job, "PATH": str(tmp_path)} for job in ("7", "8")]
    first, second = (visible_gpus(environment)[0] for environment in granted)
    assert first.name == second.name == "0"
    assert first.identity != second.identity


def test_gpus_of_amd(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "_kept", [])
    monkeypatch.setattr(leases, "_prepared", [])
    for i, cores in enumerate((0, 256, 256)):  # the first node is the CPU
        (tmp_path / f"nodes/{i}").mkdir(parents=True)
        (tmp_path / f"nodes/{i}/properties").write_text(f"cpu_cores_count {8 * (i == 0)}\nsimd_count {cores}\n")
    environment = {"PATH": str(tmp_path)}
    assert [g.name for g in visible_gpus(environment, tmp_path / "nodes")] == ["0", "1"]
    assert [g.identity for g in visible_gpus({"ROCR_VISIBLE_DEVICES": "1"}, tmp_path / "nodes")] == ["amd-1"]
    given = {"folder": tmp_path / "locks", "amd_nodes": tmp_path / "nodes"}
    leases.take(1, environment, **given)
    assert environment["HIP_VISIBLE_DEVICES"] == environment["CUDA_VISIBLE_DEVICES"] == "0"
    leases.take(0, environment, **given)
    assert environment["HIP_VISIBLE_DEVICES"] == "-1"
    for file in leases._kept:
        os.close(file)


def test_too_few_gpus_are_an_error_and_none_hides_all(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "_prepared", [])
    environment = dict(os.environ)
    with pytest.raises(GpuError, match="asked for 5 GPUs, and this machine shows it 4: .*gpu=0"):
        leases.take(5, environment, folder=tmp_path / "locks")
    assert leases.take(0, environment, folder=tmp_path / "locks") == []
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({}, 0),
        ({"gpu": 0}, 0),
        ({"gres": "licence:1"}, 0),
        ({"gpu": 2}, 2),
        ({"gres": "gpu:2"}, 2),
        ({"gres": "gpu:a100:1"}, 1),
        ({"gres": "licence:3,gpu:h100"}, 1),
    ],
)
def test_gpus_in_the_resources_of_a_job(resources, count):
    assert asked_for(resources) == count


def test_jobs_ask_for_a_gpu_where_torch_can_use_one(machine):
    assert per_job("cuda") == 1
    assert per_job("cpu") == per_job("light") == 0
    machine("")
    assert per_job("cuda") == 0
    assert per_job("cuda", here=False) == 1


def test_the_device_of_a_job_is_a_gpu_exactly_where_it_holds_one(monkeypatch):
    import torch

    for held, seen, device in ((1, True, "cuda"), (0, True, "cpu"), (0, False, "cpu")):
        monkeypatch.setattr(leases, "_prepared", [held])
        monkeypatch.setattr(leases, "_kept", [7] * held)
        monkeypatch.setattr(torch.cuda, "is_available", lambda seen=seen: seen)
        assert leases.device_of_job() == device
    monkeypatch.setattr(leases, "_kept", [7])
    with pytest.raises(GpuError, match="torch cannot use it: .*HARDWARE=cuda"):
        leases.device_of_job()


def test_provenance_names_the_gpus_that_a_job_took(machine, tmp_path, monkeypatch):
    script = tmp_path / "nvidia-smi"
    asked = tmp_path / "asked"
    script.write_text(
        f'#!/bin/sh\nif [ "$1" = -L ]; then cat <<\'END\'\n{CARDS}END\nelse echo "$1" > {asked}; '
        'echo "NVIDIA H200, 143771 MiB, 580.65"; echo "NVIDIA H200, 143771 MiB, 580.65"; fi\n'
    )
    monkeypatch.setattr(leases, "_kept", [])
    monkeypatch.setattr(leases, "_prepared", [])
    environment = dict(os.environ)
    assert device_report({"PATH": environment["PATH"]})["device"] == "cpu"
    leases.take(2, environment, folder=tmp_path / "locks")
    assert device_report(environment) == {
        "device": "NVIDIA H200, NVIDIA H200",
        "memory": "143771 MiB, 143771 MiB",
        "driver": "580.65",
    }
    assert asked.read_text().strip() == f"--id={environment[leases.NVIDIA]}"
    for file in leases._kept:
        os.close(file)
