"""A real server on loopback: vLLM's, behind a gate that can be closed while requests are under way."""

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import forked
import pytest


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Gate:
    """Passes connections on to a server, until it is closed: then all break, and new ones are refused."""

    def __init__(self, server):
        self.server, self.port, self.open, self.passed = server, free_port(), False, 0
        self.pairs = []

    def close(self):
        self.open = False
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.pairs:
            with_silence(one.shutdown, socket.SHUT_RDWR)

    def start(self):
        self.open, self.listener = True, socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while self.open:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.passed += 1
            ours = socket.create_connection(("127.0.0.1", self.server))
            self.pairs += [client, ours]
            for a, b in ((client, ours), (ours, client)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a, b):
        while data := with_silence(a.recv, 65536):
            with_silence(b.sendall, data)
        with_silence(b.shutdown, socket.SHUT_RDWR)


def with_silence(call, *arguments):
    try:
        return call(*arguments)
    except OSError:
        return None


SERVE = """
import os, sys
from pathlib import Path
from vllm.entrypoints.launchers.api_server.entry import main
Path(sys.argv.pop(1)).write_text(str(os.getpid()))
main()
"""


@pytest.fixture(scope="session")
def server(tiny_model, tmp_path_factory):
    """vLLM's own server with the tiny model, its port."""
    folder = tmp_path_factory.mktemp("server")
    port, log, number, script = free_port(), folder / "log", folder / "number", folder / "serve.py"
    script.write_text(SERVE)
    options = {
        "model": tiny_model,
        "served-model-name": "tiny",
        "port": port,
        "host": "127.0.0.1",
        "dtype": "float32",
        "max-model-len": 64,
        "logprobs-mode": "processed_logprobs",
        "generation-config": "vllm",
        "block-size": 32,
        "kv-cache-memory-bytes": 2**26,
    }
    command = forked.command(str(script), str(number), "--enforce-eager", "--no-enable-chunked-prefill", vllm=True)
    command += [f"--{name}={value}" for name, value in options.items()]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield port
    os.kill(int(number.read_text()), signal.SIGTERM)
    process.wait(30)


@pytest.fixture
def gate(server):
    """The way to the server, which the test may close."""
    one = Gate(server)
    one.start()
    yield one
    one.close()
