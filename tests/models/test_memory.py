"""Memory from the files of models (sparse files of real sizes, with real headers), and what jobs ask for."""

import json
import os

import pytest

from alignment_limits.errors import ModelError
from alignment_limits.models.memory import Checkpoint, check_fits, checkpoint, free_memory
from alignment_limits.study.layout import Layout
from alignment_limits.study.load import load_study
from alignment_limits.study.memory import CUDA, TORCH, VLLM, Memory, for_kl, for_sampling, for_scoring, for_training
from alignment_limits.study.training import Recipe


def write_sparse(file, tensors, dtype="BF16", width=2):
    """A safetensors file whose tensors are holes: `tensors` are (name, shape)."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = width
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + at)


def llama(layers, hidden, inner, key_value, vocabulary=128_256):
    """Names and shapes of a Llama 3 checkpoint."""
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    yield "lm_head.weight", (vocabulary, hidden)
    yield "model.norm.weight", (hidden,)
    for i in range(layers):
        block = f"model.layers.{i}."
        yield block + "self_attn.q_proj.weight", (hidden, hidden)
        yield block + "self_attn.k_proj.weight", (key_value, hidden)
        yield block + "self_attn.v_proj.weight", (key_value, hidden)
        yield block + "self_attn.o_proj.weight", (hidden, hidden)
        yield block + "mlp.gate_proj.weight", (inner, hidden)
        yield block + "mlp.up_proj.weight", (inner, hidden)
        yield block + "mlp.down_proj.weight", (hidden, inner)
        yield block + "input_layernorm.weight", (hidden,)
        yield block + "post_attention_layernorm.weight", (hidden,)


def write_llama(folder, files, **shape):
    """A checkpoint in several files, with its index and configuration."""
    folder.mkdir(parents=True)
    tensors = list(llama(**shape))
    where = {}
    for i in range(files):
        name = f"model-{i + 1:05d}-of-{files:05d}.safetensors"
        part = tensors[i::files]
        write_sparse(folder / name, part)
        where |= {tensor: name for tensor, _ in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    widths = {"hidden_size": shape["hidden"], "vocab_size": 128_256, "num_hidden_layers": shape["layers"]}
    (folder / "config.json").write_text(json.dumps(widths))
    return folder


EIGHT = {"layers": 32, "hidden": 4096, "inner": 14_336, "key_value": 1024}
SEVENTY = {"layers": 80, "hidden": 8192, "inner": 28_672, "key_value": 1024}


@pytest.mark.parametrize(
    ("shape", "files", "numbers"), [(EIGHT, 4, 8_030_261_248), (SEVENTY, 30, 70_553_706_496)], ids=["8B", "70B"]
)
def test_the_weights_of_large_checkpoints_are_counted_from_sparse_files(tmp_path, shape, files, numbers):
    found = checkpoint(write_llama(tmp_path / "model", files, **shape))
    assert found.numbers == numbers
    assert found.size("auto") == found.stored == pytest.approx(2 * numbers, rel=1e-4)
    assert found.size("float32") == 4 * numbers
    assert (found.hidden, found.vocabulary, found.layers) == (shape["hidden"], 128_256, shape["layers"])
    assert found.stored / files / 2 < found.largest < found.stored


def test_weights_that_a_repository_has_twice_are_counted_once(tmp_path):
    folder = write_llama(tmp_path / "model", 2, **EIGHT)
    once = checkpoint(folder)
    write_sparse(folder / "consolidated.safetensors", list(llama(**EIGHT)))
    assert checkpoint(folder) == once


def test_files_of_other_kinds_count_with_their_size(tmp_path):
    (tmp_path / "weights.h5").write_bytes(bytes(1000))
    (tmp_path / "tokenizer.pickle").write_bytes(bytes(50))
    assert checkpoint(tmp_path) == Checkpoint(numbers=0, stored=1050, largest=1000)


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{", b"\xff" * 16, b"\x03\0\0\0\0\0\0\0[1]"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        checkpoint(tmp_path)


def test_a_model_that_does_not_fit_is_refused_with_the_arithmetic(tmp_path):
    folder = write_llama(tmp_path / "Llama-Guard-3-8B", 4, **EIGHT)
    check_fits(folder, "bfloat16", 24e9, "this machine")
    check_fits(folder, "auto", 24e9, "this machine")  # whatever the files' precision is
    with pytest.raises(ModelError, match="in the precision of the files are 16 GB"):
        check_fits(folder, "auto", 8e9, "this machine")
    with pytest.raises(ModelError) as refused:
        check_fits(folder, "float32", 24e9, "this machine")
    assert str(refused.value).startswith(
        "Llama-Guard-3-8B does not fit: 8.03 billion weights in float32 are 32 GB, and this machine has 24 GB; "
        "set dtype: bfloat16"
    )


def group(tmp_path, lines, **files):
    """A stand-in for /proc and for the control groups."""
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 64000000 kB\nMemAvailable: 48000000 kB\n")
    (tmp_path / "self" / "cgroup").write_text("".join(f"{line}\n" for line in lines))
    for name, text in files.items():
        path = tmp_path / "groups" / name.replace("__", os.sep)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return free_memory(tmp_path, tmp_path / "groups")


def test_the_machines_free_memory_counts_where_no_group_has_a_limit(tmp_path):
    assert group(tmp_path, ["0::/user.slice"], **{"user.slice__memory.max": "max\n"}) == 48e6 * 1024


def test_the_limit_of_a_slurm_job_counts_for_its_steps(tmp_path):
    limited = {"slurm__job_7__memory.max": "20000000000\n", "slurm__job_7__step_0__memory.max": "max\n"}
    assert group(tmp_path, ["0::/slurm/job_7/step_0"], **limited) == 20e9


def test_the_limit_of_older_control_groups_counts(tmp_path):
    limited = {"memory__slurm__job_7__memory.limit_in_bytes": "8000000000\n"}
    assert group(tmp_path, ["4:memory:/slurm/job_7", "3:cpuset:/slurm/job_7"], **limited) == 8e9


def test_without_a_system_that_says_so_memory_is_not_limited(tmp_path):
    assert free_memory(tmp_path) == float("inf")


def layout(tmp_path, **model):
    """A study with a base of 8 billion weights and a guard of the same size, whose files are there."""
    base = write_llama(tmp_path / "base", 4, **EIGHT)
    guard = write_llama(tmp_path / "guard", 4, **EIGHT)
    (tmp_path / "prompts.txt").write_text("a\nb\n")
    study = {
        "study": "large",
        "model": {"name": "base", "source": {"path": str(base)}, "dtype": "bfloat16", **model},
        "prompts": {"source": {"path": str(tmp_path / "prompts.txt"), "kind": "dataset"}, "count": 2},
        "sampling": {"samples_per_prompt": 64},
        "gold": "guard",
        "rewards": {
            "guard": {
                "kind": "guard",
                "source": {"path": str(guard)},
                "dtype": "bfloat16",
                "safe": "safe",
                "unsafe": "unsafe",
            },
            "short": {"kind": "length", "sign": -1},
        },
        "limits": {"best_of": [1, 2, 4]},
    }
    return Layout(load_study(study, "large.yaml"))


def asked(memory, *jobs, attempt=1):
    return [memory.of(job)(None, attempt) / 1000 for job in jobs]  # GB


def test_jobs_ask_for_what_an_8b_model_needs(tmp_path):
    sample, score, kl = asked(Memory(layout(tmp_path)), "sample", "score", "policy_kl")
    assert 16 + 4 < sample < 24
    assert 16 + 1 < score < 24
    assert 2 * 32 < kl < 80


def test_kl_in_16_bits_asks_for_half(tmp_path):
    full, half = (asked(Memory(layout(tmp_path / k, kl_dtype=k)), "policy_kl")[0] for k in ("float32", "bfloat16"))
    heads = 2 * 4 * 4096 * 128_256 / 1e9
    assert half == pytest.approx((full - TORCH / 1e9) / 2 + heads + TORCH / 1e9, abs=0.01)


def test_on_a_gpu_the_host_needs_no_room_for_the_weights(tmp_path):
    sample, score = asked(Memory(layout(tmp_path), gpus=1), "sample", "score")
    largest = checkpoint(tmp_path / "base").largest / 1e9
    assert sample == pytest.approx(VLLM / 1e9 + CUDA / 1e9 + largest, abs=0.01)
    assert score < 10


def test_a_retry_asks_for_more_and_a_light_reward_does_not_decide(tmp_path):
    memory = Memory(layout(tmp_path))
    assert asked(memory, "score", attempt=3)[0] == pytest.approx(3 * asked(memory, "score")[0], abs=0.01)


def test_full_training_needs_gradients_and_moments_and_an_adapter_does_not(tmp_path):
    recipe = {"objective": "grpo", "coefficients": [0.1], "steps": 10, "batch": 8, "group": 8}
    base = Checkpoint(numbers=8_000_000_000, stored=0, largest=0, hidden=4096, vocabulary=128_256, layers=32)
    full = for_training(base, Recipe(**recipe, optimize=["guard"], lora=None), tokens=100)
    adapter = for_training(base, Recipe(**recipe, optimize=["guard"], dtype="bfloat16"), tokens=100)
    assert full > 20 * base.numbers  # weights, gradients, two moments and the reference in float32
    assert 2 * base.numbers < adapter < 5 * base.numbers
    ppo = for_training(
        base, Recipe(objective="ppo", coefficients=[0.1], steps=10, batch=8, optimize=["guard"]), tokens=100
    )
    assert ppo > 8 * base.numbers  # the policy's base and the critic's


def test_what_jobs_used_is_below_what_they_asked_for():
    """Peak memory that Snakemake measured in the small study on a CPU (SmolLM2-135M in float32, MiniLM)."""
    smollm = Checkpoint(
        numbers=134_515_008, stored=538_060_032, largest=538_060_032, hidden=576, vocabulary=49_152, layers=30
    )
    mib = 2**20
    minilm = Checkpoint(numbers=22_713_216, stored=90_852_864, largest=90_852_864)
    used = {"sample": 3398 * mib, "read_samples": 1675 * mib, "score": 661 * mib}
    asked_for = {
        "sample": for_sampling(smollm, "float32"),
        "read_samples": for_scoring(smollm),
        "score": for_scoring(minilm),
    }
    for job, peak in used.items():
        assert peak < asked_for[job] < 3 * peak, job
    assert for_kl(smollm) > 2 * smollm.size()
