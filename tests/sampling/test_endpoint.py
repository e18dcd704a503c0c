"""Sampling from a real server on loopback: vLLM's, behind a gate that can be closed while requests are under way."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from test_sampling import PROMPTS, draw, law, texts_and_ids

from alignment_limits.errors import SamplingError
from alignment_limits.study.layout import Layout
from alignment_limits.study.study import Study


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


@pytest.fixture(scope="module")
def server(tiny_model, tmp_path_factory):
    """vLLM's own server with the tiny model, its port."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
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
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += ["--no-enable-chunked-prefill", *(f"--{name}={value}" for name, value in options.items())]
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCH_COMPILE_DISABLE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | quiet)
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            break
        except OSError:
            time.sleep(0.5)
    yield port
    process.terminate()
    process.wait(30)


@pytest.fixture
def at(server):
    """Settings for a server; in between is a gate that the test may close."""
    gate = Gate(server)
    gate.start()

    def settings(**more):
        return {"engine": "endpoint", "endpoint": {"url": f"http://127.0.0.1:{gate.port}/v1", **more}}

    settings.gate = gate
    yield settings
    gate.close()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_a_server_draws_from_the_models_law(tiny_model, at, temperature, top_p):
    table, figures = draw(tiny_model, **at(), temperature=temperature, top_p=top_p, max_new_tokens=12)
    expected = [law(tiny_model, t, ids, temperature, top_p) for t, ids in texts_and_ids(table)]
    np.testing.assert_allclose(table["logprob"], expected, atol=1e-4)
    again, _ = draw(tiny_model, **at(concurrency=1), temperature=temperature, top_p=top_p, max_new_tokens=12)
    assert table.equals(again), "neither the order of requests nor their number at once matters"
    assert figures["tokens"] == table["n_tokens"].sum()
    assert table["token_ids"].n_unique() > len(PROMPTS)


def test_requests_outlive_a_server_that_goes_away_and_comes_back(tiny_model, at):
    whole, _ = draw(tiny_model, **at())
    gate = at.gate
    before = gate.passed

    def interrupt():
        while gate.passed == before:
            time.sleep(0.001)
        gate.close()
        time.sleep(1.5)
        gate.start()

    broken = threading.Thread(target=interrupt)
    broken.start()
    table, _ = draw(tiny_model, **at())
    broken.join()
    assert table.equals(whole)


def test_a_server_that_does_not_answer_is_named(tiny_model, at):
    at.gate.close()
    with pytest.raises(SamplingError, match=r"http://127.0.0.1:\d+/v1 does not answer .* after 0 retries: start"):
        draw(tiny_model, **at(retries=0))
    at.gate.start()


def test_another_model_and_too_short_a_context_are_refused(tiny_model, at):
    with pytest.raises(SamplingError, match="serves tiny: name one in sampling.endpoint.model"):
        draw(tiny_model, **at(model="large"))
    with pytest.raises(SamplingError, match="reads at most 64 tokens, .* takes 76: start it with --max-model-len 76"):
        draw(tiny_model, **at(), max_new_tokens=60)
    with pytest.raises(SamplingError, match="environment variable NO_SUCH_KEY is not set"):
        draw(tiny_model, **at(key="NO_SUCH_KEY"))


def test_the_address_of_a_server_decides_no_sample():
    def study(url, **more):
        return Study.model_validate(
            {
                "study": "s",
                "model": {"name": "m", "source": {"path": "m"}},
                "prompts": {"source": {"path": "p.txt"}, "count": 8, "stratify_by": None},
                "sampling": {"engine": "endpoint", "endpoint": {"url": url}},
                "gold": "words",
                "rewards": {"words": {"kind": "length"}},
                **more,
            }
        )

    one, other = study("http://a:1/v1"), study("https://b/v1")
    assert one.base_id == other.base_id
    assert Layout(one).sampling_settings(0, 0) == Layout(other).sampling_settings(0, 0)
    assert "url" not in str(Layout(one).sampling_settings(0, 0))
    with pytest.raises(ValueError, match="endpoint serves the base model only"):
        study("http://a:1/v1", proposals={"hot": {"temperature": 1.5}})
    with pytest.raises(ValueError, match="belong together"):
        study("http://a:1/v1", sampling={"engine": "endpoint"})
