"""Sampling from vLLM's own server on loopback."""

import threading
import time

import numpy as np
import pytest
from test_sampling import PROMPTS, draw, law, texts_and_ids

from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.study.layout import Layout
from alignment_limits.study.study import Study


@pytest.fixture
def at(gate):
    """Settings for the server."""
    return lambda **more: {"engine": "endpoint", "endpoint": {"url": f"http://127.0.0.1:{gate.port}/v1", **more}}


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_a_server_draws_from_the_models_law(tiny_model, at, temperature, top_p):
    table, figures = draw(tiny_model, **at(), temperature=temperature, top_p=top_p, max_new_tokens=12)
    expected = [law(tiny_model, t, ids, temperature, top_p) for t, ids in texts_and_ids(table)]
    np.testing.assert_allclose(table["logprob"], expected, atol=1e-4)
    again, _ = draw(tiny_model, **at(concurrency=1), temperature=temperature, top_p=top_p, max_new_tokens=12)
    assert table.equals(again), "neither the order of requests nor their number at once matters"
    assert figures["tokens"] == table["n_tokens"].sum()
    assert table["token_ids"].n_unique() > len(PROMPTS)


def test_requests_outlive_a_server_that_goes_away_and_comes_back(tiny_model, at, gate):
    whole, _ = draw(tiny_model, **at())
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


def test_a_server_that_does_not_answer_is_named(tiny_model, at, gate):
    gate.close()
    with pytest.raises(
        AlignmentLimitsError, match=r"http://127.0.0.1:\d+/v1 does not answer .* after 0 retries: start"
    ):
        draw(tiny_model, **at(retries=0))
    gate.start()


def test_another_model_and_too_short_a_context_are_refused(tiny_model, at):
    with pytest.raises(AlignmentLimitsError, match="serves tiny: name one in endpoint.model"):
        draw(tiny_model, **at(model="large"))
    with pytest.raises(
        AlignmentLimitsError, match="reads at most 64 tokens, .* takes 76: start it with --max-model-len 76"
    ):
        draw(tiny_model, **at(), max_new_tokens=60)
    with pytest.raises(AlignmentLimitsError, match="environment variable NO_SUCH_KEY is not set"):
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
