"""What a reply's log-probability is: float64 on the logits of transformers' eager attention in float32, one text at a
time, and nothing of ours."""

import functools
import json
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


@functools.cache
def eager(folder: Path):
    """A checkpoint, or an adapter applied to (not merged into) the base that it names."""
    adapter = folder / "adapter_config.json"
    base = json.loads(adapter.read_text("utf-8"))["base_model_name_or_path"] if adapter.is_file() else folder
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager", dtype=torch.float32)
    return (PeftModel.from_pretrained(model, folder) if adapter.is_file() else model).eval()


def laws(folder: Path, sent, reply, temperature=1.0, top_p=1.0) -> torch.Tensor:
    """log π of every token at each place of a reply [t, v], float64."""
    with torch.inference_mode():
        logits = eager(folder)(input_ids=torch.tensor([[*sent, *reply]])).logits[0, len(sent) - 1 : -1].double()
    law = torch.log_softmax(logits / temperature, -1)
    if top_p < 1:
        for row in law:
            order = row.argsort(descending=True)
            before = row[order].exp().cumsum(0) - row[order].exp()
            row[order[before >= top_p]] = -torch.inf
        law = torch.log_softmax(law, -1)
    return law


def logprob(folder: Path, sent, reply, **law) -> float:
    """log π of a reply, in nats."""
    return float(laws(folder, sent, reply, **law)[torch.arange(len(reply)), torch.tensor(reply)].sum())


def kl(policy: Path, base: Path, sent, reply, **law) -> float:
    """Σ_t KL(π ‖ π₀) of the next token along a reply, over the tokens both models have a row for."""
    p, q = (laws(folder, sent, reply, **law) for folder in (policy, base))
    return float((p.exp() * (p - q)).sum())
