"""What training refuses or keeps to, so that no result depends on the machine or on padding."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_fine_tuning import SETTINGS
from transformers import AutoConfig, AutoModelForCausalLM, TrainingArguments
from worlds import World

from alignment_limits.errors import TrainingError
from alignment_limits.training.fine_tune import fine_tune
from alignment_limits.training.run import refuse_absolute_positions, train
from alignment_limits.training.task import PairData, Task, load_base, one_device

OBJECTIVES = {
    "ppo": {"objective": "ppo"},
    "grpo": {"objective": "grpo", "group": 4},
    "rloo": {"objective": "rloo", "group": 4},
    "dpo": {"objective": "dpo"},
    "best-of-n": {"objective": "best-of-n", "coefficient": 8},
    "pmle": {"objective": "pmle", "setting": "as-modelled"},
}


def _eight(self: TrainingArguments) -> int:
    """What torch would report on a machine with eight GPUs: known once, and settable as before."""
    if not self.__dict__.get("_counted"):
        self.__dict__["_counted"] = True
        _ = self._setup_devices
        self._n_gpu = 8
    return int(self._n_gpu)


@pytest.fixture
def eight_gpus(monkeypatch):
    return lambda: monkeypatch.setattr(TrainingArguments, "n_gpu", property(_eight))


@pytest.fixture(scope="module")
def world(tiny_model):
    return World(tiny_model, 3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_policies_do_not_depend_on_how_many_gpus_torch_sees(world, tmp_path, eight_gpus, capfd, objective):
    rng = np.random.default_rng(0)
    chosen, rejected = rng.permuted(np.tile(np.arange(64), (32, 1)), axis=1)[:, :2].T
    pairs = PairData(np.arange(32) % 4, chosen, rejected, 1.0)
    rows = {}
    for name in ("one", "eight"):
        if name == "eight":
            eight_gpus()
        (tmp_path / name).mkdir()
        task = world.task(tmp_path / name, **OBJECTIVES[objective], steps=2, batch=8)
        task = Task(**{**vars(task), "pairs": pairs if objective == "pmle" else None})
        rows[name] = train(task, tmp_path / f"{name} policy", tmp_path / f"{name}.pt", "stamp")
        assert ("torch sees 8 GPUs; this job trains on one" in capfd.readouterr().err) == (name == "eight")
    assert rows["one"] == rows["eight"]
    one, eight = (load_file(tmp_path / f"{name} policy/adapter_model.safetensors") for name in rows)
    assert all(bool((one[key] == eight[key]).all()) for key in one)


def test_fine_tuned_rewards_do_not_depend_on_how_many_gpus_torch_sees(tiny_model, tmp_path, eight_gpus, capfd):
    better, worse = [("q", "ab" * (i % 5 + 1)) for i in range(32)], [("q", "b" * (i % 7 + 1)) for i in range(32)]
    made = {}
    for name in ("one", "eight"):
        if name == "eight":
            eight_gpus()
        (tmp_path / name).mkdir()
        settings = SETTINGS | {"epochs": 1, "batch": 8}
        made[name] = fine_tune(tiny_model, better, worse, settings, tmp_path / f"{name} model", tmp_path / name)
    assert "torch sees 8 GPUs; this job trains on one" in capfd.readouterr().err
    assert made["one"] == made["eight"]
    assert made["eight"]["steps"] == 4
    one, eight = (load_file(tmp_path / f"{name} model/model.safetensors") for name in made)
    assert all(bool((one[key] == eight[key]).all()) for key in one)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt", "gpt_neox"])
def test_a_model_whose_logits_depend_on_padding_in_front_is_refused_for_grpo(tmp_path, kind):
    config = AutoConfig.for_model(
        kind, vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        ffn_dim=32, word_embed_proj_dim=32, max_position_embeddings=32, initializer_range=0.3, bos_token_id=0,
        eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = load_base(tmp_path, "float32", [1])
    if kind == "gpt2":
        with pytest.raises(TrainingError, match="GPT2LMHeadModel counts positions from the padding on"):
            refuse_absolute_positions(model, 64)
    else:
        refuse_absolute_positions(model, 64)


def test_a_vocabulary_of_few_words_does_not_depend_on_padding(tmp_path):
    config = AutoConfig.for_model(
        "llama", vocab_size=5, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.3, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    refuse_absolute_positions(load_base(tmp_path, "float32", [1]), 5)


@pytest.mark.parametrize("what", ["GPUs", "processes"])
def test_what_cannot_be_kept_to_one_device_is_refused(tmp_path, monkeypatch, what):
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    if what == "GPUs":
        monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda _: 8))
    else:
        arguments.distributed_state = SimpleNamespace(num_processes=2)
    with pytest.raises(TrainingError, match="multiplies the batch; give the job one GPU"):
        one_device(arguments)
