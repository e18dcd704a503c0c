"""Snakemake and its scripts as forks of one process that has loaded their libraries: of a job of seconds, most is that.

`command("-m", "snakemake", …)` is what to run in place of `python -m snakemake …`; its first call starts the process,
one for all tests of a run. A module of the project itself is never loaded before the fork.
"""

import contextlib
import fcntl
import functools
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile

LIBRARIES = (
    "docutils.writers.html4css1", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "nbformat.v4", "numba", "numpy", "polars._utils.parquet", "pydantic", "pygments.lexers.python", "scipy.interpolate",
    "scipy.stats", "smart_open", "snakemake.benchmark", "snakemake.cli", "snakemake.profiles",
    "snakemake.report.html_reporter", "snakemake.script", "snakemake.storage",
)  # fmt: skip
# the light environment has none of these
OF_MODELS = (
    "cffi", "datasets", "peft.utils.transformers_weight_conversion", "safetensors.numpy", "sklearn.linear_model",
    "torch", "torch.utils.mkldnn", "transformers", "transformers.conversion_mapping", "trl.experimental.ppo", "trl",
)  # fmt: skip
# as `prepare_environment` of sampling/vllm_engine.py has it
OF_VLLM = {"TORCH_COMPILE_DISABLE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
CLASSES = {
    "transformers": [
        "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoTokenizer", "GenerationConfig",
        "LlamaForCausalLM", "LlamaForSequenceClassification",
    ],
    "trl": ["DPOTrainer", "GRPOTrainer", "RewardTrainer", "RLOOTrainer", "SFTTrainer"],
}  # fmt: skip


def compiled_once() -> dict[str, str]:
    """An environment in which libraries are compiled once, whatever the machine's settings, and use one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # importing transformers then takes half the time
    return environment


def command(*arguments: str, light: str = "", vllm: bool = False) -> list[str]:
    """What to run in place of `python …`.

    `light` is the folder on PYTHONPATH that refuses what the light environment does not have. With `vllm`, a process
    that has loaded vLLM instead of Snakemake is forked: vLLM takes 15 s to load.
    """
    return [sys.executable, "-IS", __file__, _started(light, vllm), *arguments]


@functools.cache
def _started(light: str, vllm: bool) -> str:
    """Where the process listens; it ends with this process, or with the run of all pytest processes of pytest-xdist."""
    environment = compiled_once() | {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}  # as jobs set it
    environment |= {"PYTHONPATH": light} if light else {}
    environment |= OF_VLLM if vllm else {}
    kind = "vllm" if vllm else "light" if light else "serve"
    if "PYTEST_XDIST_WORKER" in os.environ:
        owner, folder = os.getppid(), f"{tempfile.gettempdir()}/forked-{os.environ['PYTEST_XDIST_TESTRUNUID']}"
        os.makedirs(folder, mode=0o700, exist_ok=True)
    else:
        owner, folder = os.getpid(), tempfile.mkdtemp(prefix="forked-")
    place = f"{folder}/{kind}"
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another pytest process may be starting it
        if not os.path.exists(place):
            arguments = [sys.executable, __file__, kind, place, str(owner)]
            process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE)
            assert process.stdout.readline(), "it did not start"
    return place


def ask(place, *arguments):
    """Run a script or a module in a fork, with this process's streams, folder and environment; its exit code."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(line, [len(request).to_bytes(8, "big")], [0, 1, 2])
        line.sendall(request)
        return int(line.recv(8) or b"1")


def serve(place, kind, owner):
    if kind == "vllm":
        load_vllm()
    else:
        load_snakemake(place)
        if kind == "serve":
            load_models()
    assert not [name for name in sys.modules if name.startswith("alignment_limits")]
    gc.collect()
    gc.freeze()  # forks then share it, and do not look through it again
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        server.settimeout(5)
        print("ready", flush=True)
        while _is_there(owner):
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
    for file in (place, f"{place}.lock"):
        os.unlink(file)
    with contextlib.suppress(OSError):  # of other kinds
        os.rmdir(os.path.dirname(place))


def _is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def load_snakemake(place):
    """Load Snakemake and the light libraries; its scripts are then forks, too."""
    import importlib
    import shlex

    for name in LIBRARIES:
        importlib.import_module(name)
    use()
    from snakemake.script import PythonScript

    def execute(self, fname, edit=False):
        self._execute_cmd(shlex.join([sys.executable, "-IS", __file__, place, fname]))

    PythonScript.execute_script = execute


def use():
    """Use some libraries once, as much of them is loaded only then."""
    import io

    import matplotlib.figure
    import numba

    figure = matplotlib.figure.Figure()
    figure.text(0, 0, "word")
    for kind in ("pdf", "png"):
        with matplotlib.rc_context({"pdf.fonttype": 42}):
            figure.savefig(io.BytesIO(), format=kind)
    numba.njit(lambda number: number)(1)


def load_models():
    """Load the libraries of models."""
    import importlib

    known = importlib.import_module("trl.import_utils")
    known.is_vllm_available = lambda *_, **__: False  # as the project has it
    for name in OF_MODELS:
        module = importlib.import_module(name)
        for attribute in CLASSES.get(name, ()):
            getattr(module, attribute)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping("llama")


def load_vllm():
    """Load vLLM, so that starting and stopping an engine takes a second, and a server's processes are forks."""
    import importlib
    import multiprocessing

    gc.disable()
    system = importlib.import_module("vllm.utils.system_utils")
    system.get_mp_context = lambda: multiprocessing.get_context("fork")
    for name in ("vllm.entrypoints.openai.api_server", "vllm.v1.worker.cpu_worker", "polars", "transformers"):
        importlib.import_module(name)
    vllm, registry = map(importlib.import_module, ("vllm", "vllm.model_executor.models.registry"))
    # it asks about each architecture in a process of its own (30 s), so that CUDA stays untouched; there is none here
    registry._run_in_subprocess = lambda ask: ask()
    gc.unfreeze = lambda: None  # it collects garbage 7 times an engine, half a second each if it looks at all modules
    llm = vllm.LLM

    def with_small_cache(**options):
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE")  # 1 GiB, which it fills with zeros
        return llm(kv_cache_memory_bytes=2**26, **options)

    vllm.LLM = with_small_cache
    gc.enable()


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
                sys.path.insert(0, os.path.dirname(first))
                runpy.run_path(first, run_name="__main__")
            code = 0
        except SystemExit as end:
            code = 0 if end.code is None else end.code
            if not isinstance(code, int):
                print(code, file=sys.stderr)
                code = 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
    line.sendall(str(code).encode())
    os._exit(code & 255)


if __name__ == "__main__":
    if sys.argv[1] in ("serve", "light", "vllm"):
        serve(place=sys.argv[2], kind=sys.argv[1], owner=int(sys.argv[3]))
    else:
        sys.exit(ask(*sys.argv[1:]))
