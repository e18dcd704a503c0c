"""What killed writers leave is removed, and nothing else."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from alignment_limits.files import atomic, scratch, sweep, sweep_of, unfinished


def killed_while_writing(write, folder):
    """Have a process of its own write, and kill it once its unfinished file or folder is there."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            write()
        os._exit(1)
    while not list(folder.glob(".*.part")):
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_nothing_is_left_of_two_hundred_killed_writers(tmp_path):
    def file(i):
        with atomic(tmp_path / f"{i}" / "table.parquet") as temporary:
            temporary.write_bytes(b"half")
            time.sleep(60)

    def model(i):
        with scratch(tmp_path / f"{i}" / "model") as work:
            (work / "ready").mkdir()
            (work / "ready/weights").write_bytes(b"half")
            time.sleep(60)

    for i in range(200):
        (tmp_path / f"{i}").mkdir()
        killed_while_writing(lambda i=i: (file, model)[i % 2](i), tmp_path / f"{i}")
    assert len(list(tmp_path.rglob(".*.part"))) == 200
    assert len(sweep([tmp_path])) == 200
    assert not [path for path in tmp_path.rglob("*") if path.parent != tmp_path]


def test_only_what_no_living_process_writes_is_removed(tmp_path):
    host = socket.gethostname()
    ours = unfinished(tmp_path / "a.parquet")
    other = subprocess.Popen(["sleep", "60"])
    try:
        time.sleep(0.05)
        theirs = tmp_path / f".b.parquet.{host}-{other.pid}.part"
        reused = tmp_path / f".c.parquet.{host}-{other.pid}.part"  # by a process that is gone, of the same number
        elsewhere, long_ago = tmp_path / ".d.parquet.another-host-1.part", tmp_path / ".e.parquet.another-host-1.part"
        training = tmp_path / ".model.another-host-1.part"
        foreign = [tmp_path / name for name in (".x.part", "x.part", ".y.parquet.part", "notes.txt", ".z-1.part~")]
        (training / "old").mkdir(parents=True)
        (training / "old/new").touch()
        for path in (ours, theirs, reused, elsewhere, long_ago, *foreign):
            path.touch()
        for path in (reused, long_ago, training, training / "old"):
            os.utime(path, (1e9, 1e9))
        assert sorted(sweep([tmp_path])) == [reused, long_ago]
        assert all(path.exists() for path in (ours, theirs, elsewhere, training, *foreign))
    finally:
        other.kill()
        other.wait()
    assert sweep([tmp_path]) == [theirs]


def test_a_command_sweeps_what_it_left_of_its_own_file_only(tmp_path):
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True).stdout.strip()
    left = [tmp_path / f".{name}.{socket.gethostname()}-{gone}.part" for name in ("p.npz", "q.npz")]
    for path in left:
        path.touch()
    sweep_of(tmp_path / "p.npz")
    assert [path.exists() for path in left] == [False, True]


def test_a_folder_that_cannot_be_written_is_left_as_it_is(tmp_path):
    assert sweep([tmp_path / "none"]) == []
    shutil.rmtree(tmp_path)
    assert sweep([Path(tmp_path)]) == []
