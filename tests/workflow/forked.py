"""Snakemake and its scripts as forks of one process that has loaded their libraries: of a job of seconds, most is that.

`with Forked(environment) as forked` starts the process; `forked.command("-m", "snakemake", …)` is what to run in place
of `python -m snakemake …`. A module of the project itself is never loaded before the fork.
"""

import contextlib
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile

LIBRARIES = (
    "numba", "numpy", "peft", "polars", "scipy.stats", "seaborn", "sklearn.linear_model", "snakemake.cli",
    "snakemake.report", "snakemake.script", "torch", "transformers",
)  # fmt: skip
CLASSES = {"transformers": ["AutoModelForCausalLM", "AutoTokenizer", "LlamaForCausalLM"]}


class Forked:
    """The process, as long as the block lasts."""

    def __init__(self, environment):
        self.environment = environment

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.place = os.path.join(self.folder.name, "socket")
        command = [sys.executable, __file__, "serve", self.place]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE)
        assert self.process.stdout.readline(), "it did not start"
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def command(self, *arguments):
        return [sys.executable, "-IS", __file__, self.place, *arguments]


def ask(place, *arguments):
    """Run a script or a module in a fork, with this process's streams, folder and environment; its exit code."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(line, [len(request).to_bytes(8, "big")], [0, 1, 2])
        line.sendall(request)
        return int(line.recv(8) or b"1")


def serve(place):
    import importlib
    import shlex

    for name in LIBRARIES:
        module = importlib.import_module(name)
        for attribute in CLASSES.get(name, ()):
            getattr(module, attribute)
    from snakemake.script import PythonScript

    def execute(self, fname, edit=False):
        self._execute_cmd(shlex.join([sys.executable, "-IS", __file__, place, fname]))

    PythonScript.execute_script = execute
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        server.settimeout(5)
        parent = os.getppid()
        print("ready", flush=True)
        while os.getppid() == parent:  # else whoever started it was killed
            try:
                line, _ = server.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                server.close()
                run(line)
            line.close()
            with contextlib.suppress(ChildProcessError):  # those that have ended
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def run(line):
    size, streams, *_ = socket.recv_fds(line, 8, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += line.recv(1 << 20)
    (first, *rest), folder, environment = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
    code = 1
    with contextlib.suppress(BrokenPipeError):
        try:
            if first == "-m":
                sys.argv = rest
                runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
            else:
                sys.argv = [first, *rest]
                runpy.run_path(first, run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
    line.sendall(str(code).encode())
    os._exit(code & 255)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(*sys.argv[1:]))
