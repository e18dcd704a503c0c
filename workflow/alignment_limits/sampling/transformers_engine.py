"""Sampling with `generate` of transformers: slower, for models or machines that vLLM does not support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alignment_limits.sampling.shard import Completion, Request
from alignment_limits.study.sampling import Model, Sampling


class TransformersEngine:
    """A model in this process; one request (a block of one prompt) is one batch.

    A batch never mixes prompts. So there is no padding, and no sample depends on the shard's layout.
    """

    def __init__(self, folder: Path, model: Model, sampling: Sampling, context: int, threads: int) -> None:
        import torch

        from alignment_limits.models.load import device_of_job, load_causal

        torch.set_num_threads(threads)
        self._device = device_of_job()
        self._sampling = sampling
        self._model = load_causal(
            folder, dtype=model.dtype, device=self._device, trust_remote_code=model.trust_remote_code
        )

    def generate(
        self, requests: Sequence[Request], stop: Sequence[int], progress: Callable[..., Any]
    ) -> list[list[Completion]]:
        """One list of completions per request, in order."""
        bar = progress(total=sum(r.n for r in requests))
        out, tokens = [], 0
        for request in requests:
            out.append(self._one(request, list(stop)))
            tokens += sum(len(c.token_ids) for c in out[-1])
            bar.update(request.n)
            elapsed = bar.format_dict["elapsed"] or 1e-9
            bar.set_postfix_str(f"{tokens / elapsed:.0f} tokens/s", refresh=False)
        bar.close()
        return out

    def _one(self, request: Request, stop: list[int]) -> list[Completion]:
        import torch

        torch.manual_seed(request.seed)
        prompt = torch.tensor([request.token_ids], device=self._device)
        with torch.inference_mode():
            made = self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=True,
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                top_k=0,
                max_new_tokens=self._sampling.max_new_tokens,
                num_return_sequences=request.n,
                eos_token_id=stop or None,
                pad_token_id=stop[0] if stop else 0,
                return_dict_in_generate=True,
                output_scores=True,
            )
        replies = made.sequences[:, prompt.shape[1] :]
        # scores are the logits after temperature and top-p: the law that was sampled
        steps = [torch.log_softmax(s.float(), -1).gather(1, replies[:, [t]]) for t, s in enumerate(made.scores)]
        logprobs = torch.cat(steps, 1).double()
        return [_until_stop(ids, lp, stop) for ids, lp in zip(replies.tolist(), logprobs.tolist(), strict=True)]


def _until_stop(ids: list[int], logprobs: list[float], stop: list[int]) -> Completion:
    """Remove the padding that `generate` adds after the end of a reply; the stop token belongs to the reply."""
    end = next((t + 1 for t, token in enumerate(ids) if token in stop), None)
    reason = "length" if end is None else "stop"
    return Completion(ids[:end], sum(logprobs[:end]), reason)
