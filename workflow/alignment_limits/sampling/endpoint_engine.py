"""Sampling from a server that speaks OpenAI's protocol and returns token ids, such as `vllm serve` or Ray Serve LLM.

The server computes; this process asks, waits and checks. A server can apply settings of its own, such as a top-k of the
checkpoint's generation_config.json, so every request states the complete law. At the start the server's law is checked
on a few draws: see `EndpointEngine.check`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from alignment_limits.errors import SamplingError
from alignment_limits.models.endpoint import Server
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.sampling.shard import Completion, Request
from alignment_limits.study.sampling import Model, Sampling

SAME = 1e-3  # nats per token; two readings of a token by one server differ by rounding
DRAWS = 8  # of the check
REMEDY = "start it with `vllm serve MODEL --logprobs-mode processed_logprobs`"


class EndpointEngine:
    """A model on a server.

    Args:
        folder: the model's files, for its tokenizer.
        context: tokens of the longest prompt and its reply.
        threads: not used.

    Raises:
        ModelError: no server answers, or it serves another model.
        SamplingError: it reads too short a context, returns no token ids, or reports other probabilities than those
            of the law that it samples.
    """

    def __init__(self, folder: Path, model: Model, sampling: Sampling, context: int, threads: int) -> None:
        if sampling.endpoint is None:
            raise SamplingError("sampling.engine is endpoint: give sampling.endpoint.url")
        self._at = sampling.endpoint
        self._sampling = sampling
        self._server = Server(self._at.model_dump())
        self._name, card = self._server.served()
        room = (card.model_extra or {}).get("max_model_len")
        if room is not None and room < context:
            raise SamplingError(
                f"{self._at.url} reads at most {room} tokens, and the longest prompt with its reply takes {context}: "
                f"start it with --max-model-len {context} or more"
            )
        tokenizer = load_tokenizer(folder, model.trust_remote_code)
        self.check(tokenizer("The", add_special_tokens=False)["input_ids"], stop_tokens(folder, tokenizer))

    def generate(
        self, requests: Sequence[Request], stop: Sequence[int], progress: Callable[..., Any]
    ) -> list[list[Completion]]:
        """One list of completions per request, in order; `concurrency` requests are under way at once."""
        out: list[list[Completion]] = [[] for _ in requests]
        pool = ThreadPoolExecutor(self._at.concurrency)
        try:
            with progress(total=sum(r.n for r in requests)) as bar:
                waiting = {pool.submit(self._one, request, list(stop)): i for i, request in enumerate(requests)}
                for done in as_completed(waiting):
                    out[waiting[done]] = done.result()
                    bar.update(requests[waiting[done]].n)
        finally:  # after an error the other requests are not waited for
            pool.shutdown(wait=False, cancel_futures=True)
        return out

    def check(self, prompt: list[int], stop: Sequence[int]) -> None:
        """Compare what the server reports for its own draws with its reading of the same tokens.

        At temperature 1 with top-p 1 the two must agree, or the server samples another law than it is asked for. At
        temperature 0.5 they must differ, or the server reports probabilities of the model and not of the sampled law.

        Raises:
            SamplingError: see the class.
        """
        law = {"temperature": 1.0, "top_p": 1.0}
        drawn, read = self._both(prompt, stop, law)
        if abs(drawn - read) > SAME * self._tokens:
            raise SamplingError(
                f"{self._at.url} draws from another law than its model's: it reports {drawn:.4f} nats for draws "
                f"that it reads with {read:.4f}; turn off its penalties and logits processors"
            )
        if self._sampling.temperature == 1 and self._sampling.top_p == 1:
            return  # both kinds of log-probabilities are the same
        drawn, read = self._both(prompt, stop, {"temperature": 0.5, "top_p": 1.0})
        if abs(drawn - read) <= SAME * self._tokens:
            raise SamplingError(
                f"{self._at.url} reports probabilities before temperature and top-p, so those of the sampled law are "
                f"not known; {REMEDY}, or set sampling.temperature and top_p to 1"
            )

    def _both(self, prompt: list[int], stop: Sequence[int], law: dict[str, float]) -> tuple[float, float]:
        """Log-probability of a few draws as reported, and as the server reads the same tokens in a prompt; nats."""
        request = Request("", prompt, DRAWS, seed=1, max_new_tokens=8)
        replies = self._one(request, list(stop), law)
        self._tokens = sum(len(reply.token_ids) for reply in replies)
        read = 0.0
        for reply in replies:
            ids = [*prompt, *reply.token_ids]
            extra = {"prompt_logprobs": 0, "return_token_ids": True}
            answer = self._ask(prompt=ids, max_tokens=1, temperature=1.0, extra_body=extra)
            (choice,) = answer.choices
            places = (choice.model_extra or {}).get("prompt_logprobs")
            if not places:
                raise SamplingError(f"{self._at.url} does not read prompts (prompt_logprobs), so its law is not known")
            read += sum(places[i][str(ids[i])]["logprob"] for i in range(len(prompt), len(ids)))
        return sum(reply.logprob for reply in replies), read

    def _one(self, request: Request, stop: list[int], law: dict[str, float] | None = None) -> list[Completion]:
        law = law or {"temperature": self._sampling.temperature, "top_p": self._sampling.top_p}
        # everything that a server or a checkpoint could set otherwise
        extra = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": stop, "return_token_ids": True}
        answer = self._ask(
            prompt=request.token_ids,
            n=request.n,
            seed=request.seed,
            max_tokens=request.max_new_tokens or self._sampling.max_new_tokens,
            logprobs=0,
            frequency_penalty=0.0,
            presence_penalty=0.0,
            extra_body=extra,
            **law,
        )
        out = []
        for choice in sorted(answer.choices, key=lambda choice: choice.index):
            ids = (choice.model_extra or {}).get("token_ids")
            each = choice.logprobs.token_logprobs if choice.logprobs else None
            if ids is None or each is None or len(ids) != len(each):
                raise SamplingError(
                    f"{self._at.url} returns no token ids with their log-probabilities (return_token_ids, logprobs), "
                    "which KL needs: use a server that does, such as vLLM's, or import its texts (samples: {import: …})"
                )
            out.append(Completion(list(ids), float(sum(each)), str(choice.finish_reason)))
        return out

    def _ask(self, **request: Any) -> Any:
        return self._server.reach(lambda: self._server.client.completions.create(model=self._name, **request))
