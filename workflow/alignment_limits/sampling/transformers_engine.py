"""Sampling with `generate` of transformers: slower, for models or machines that vLLM does not support."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alignment_limits.sampling.shard import Completion, Request
from alignment_limits.study.sampling import Model, Sampling


class TransformersEngine:
    """A model in this process; one request (a block of one prompt) is one batch.

    A batch never mixes prompts. So there is no padding, and no sample depends on the shard's layout. Requests of one
    sample each are an exception: those of equal length are one batch, and each has its own noise.
    """

    def __init__(self, folder: Path, model: Model, sampling: Sampling, context: int, threads: int) -> None:
        import torch

        from alignment_limits.jobs.leases import device_of_job
        from alignment_limits.models.load import load_causal

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
        if requests and all(r.n == 1 for r in requests):
            return self._singles(requests, list(stop))
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
                max_new_tokens=request.max_new_tokens or self._sampling.max_new_tokens,
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

    def _singles(self, requests: Sequence[Request], stop: list[int]) -> list[list[Completion]]:
        """One sample for each request; a sample depends on its own request alone."""
        import torch
        from transformers import LogitsProcessorList

        alike: dict[tuple[int, int], list[int]] = {}
        for i, request in enumerate(requests):
            longest = request.max_new_tokens or self._sampling.max_new_tokens
            alike.setdefault((len(request.token_ids), longest), []).append(i)
        out: list[list[Completion]] = [[] for _ in requests]
        for (length, longest), rows in alike.items():
            prompts = torch.tensor([requests[i].token_ids for i in rows], device=self._device)
            noise = _OwnNoise([requests[i].seed for i in rows], self._sampling)
            with torch.inference_mode():
                made = self._model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    do_sample=False,  # the noise is added to the log-probabilities, and the largest sum wins
                    max_new_tokens=longest,
                    eos_token_id=stop or None,
                    pad_token_id=stop[0] if stop else 0,
                    logits_processor=LogitsProcessorList([noise]),
                )
            replies = made[:, length:]
            steps = [log.gather(1, replies[:, [t]]) for t, log in enumerate(noise.logs[: replies.shape[1]])]
            logprobs = torch.cat(steps, 1).double()
            for i, ids, each in zip(rows, replies.tolist(), logprobs.tolist(), strict=True):
                out[i] = [_until_stop(ids, each, stop)]
        return out


class _OwnNoise:
    """Adds Gumbel noise of each row's own generator to log-probabilities, so that the largest sum is a sample.

    Attributes:
        logs: log-probabilities of each step [rows, tokens], after temperature and top-p.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling) -> None:
        import numpy as np

        self._generators = [np.random.default_rng(seed) for seed in seeds]
        self._sampling = sampling
        self.logs: list[Any] = []

    def __call__(self, ids: Any, scores: Any) -> Any:
        import numpy as np
        import torch
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        if self._sampling.temperature != 1:
            scores = TemperatureLogitsWarper(self._sampling.temperature)(ids, scores)
        if self._sampling.top_p < 1:
            scores = TopPLogitsWarper(self._sampling.top_p)(ids, scores)
        logs = torch.log_softmax(scores.float(), -1)
        self.logs.append(logs)
        noise = np.stack([generator.gumbel(size=logs.shape[1]) for generator in self._generators])
        return logs + torch.from_numpy(noise).to(logs)


def _until_stop(ids: list[int], logprobs: list[float], stop: list[int]) -> Completion:
    """Remove the padding that `generate` adds after the end of a reply; the stop token belongs to the reply."""
    end = next((t + 1 for t, token in enumerate(ids) if token in stop), None)
    reason = "length" if end is None else "stop"
    return Completion(ids[:end], sum(logprobs[:end]), reason)
