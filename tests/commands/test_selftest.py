"""The test of a machine runs a model through sampling, reading and scoring, and complains where they disagree."""

import json

import pytest

from alignment_limits.__main__ import main
from alignment_limits.commands.selftest import complaint


@pytest.fixture(scope="module")
def report(tiny_model, tmp_path_factory):
    """A report on the engine of transformers, which starts in seconds."""
    out = tmp_path_factory.mktemp("selftest") / "report.json"
    words = ["selftest", "--model", str(tiny_model), "--engine", "transformers", "--threads", "1", "-o", str(out)]
    assert main(words) == 0
    return json.loads(out.read_text("utf-8"))


def test_a_report_has_the_device_the_rounding_the_speed_and_the_memory(report):
    assert report["device"] == "cpu"
    assert report["same_among_others"] == 1
    assert report["log_probability"]["replies"] == 64
    assert report["log_probability"]["largest"] < 1e-3
    for key in ("sampling_tokens_per_second", "kl_tokens_per_second", "scoring_tokens_per_second"):
        assert report[key] > 0
    assert 0.1 < report["sampling_memory_gb"] < 20
    assert report["versions"]["torch"]


def test_a_machine_that_samples_another_law_is_reported(report):
    assert complaint(report) is None
    wrong = report | {"log_probability": report["log_probability"] | {"largest_per_root_token": 0.1}}
    assert "sampling and reading differ by 0.1 nats per root" in str(complaint(wrong))
    assert complaint(wrong | {"dtype": "bfloat16"}) is None


def test_a_cpu_on_which_replies_depend_on_others_is_reported(report):
    assert "only 90% of the replies were the same" in str(complaint(report | {"same_among_others": 0.9}))
    assert complaint(report | {"same_among_others": 0.9, "device": "NVIDIA H200"}) is None


def test_a_folder_without_a_model_is_named(tmp_path, capsys):
    assert main(["selftest", "--model", str(tmp_path)]) == 1
    assert f"{tmp_path} is no folder of a model: it has no config.json" in capsys.readouterr().err
