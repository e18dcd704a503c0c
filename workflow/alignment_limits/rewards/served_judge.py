"""A judge on a server: the probabilities of the first token of its answer, as the server reports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from alignment_limits.errors import RewardError
from alignment_limits.jobs.job import progress_bar
from alignment_limits.models.endpoint import Server
from alignment_limits.rewards.judge import Item, Opinions, filled

SHOWN = 20  # likeliest tokens that servers report at most


def ask_server(at: Mapping[str, Any], rubric: str, answers: Sequence[str]) -> Callable[[Sequence[Item]], Opinions]:
    """Opinions of a model on a server that speaks OpenAI's protocol.

    The rubric is the user's turn. Of the first token of the model's turn the server reports the 20 likeliest. A token
    counts for the one answer that it begins, without white space around it. So an answer that none of them begins has
    the probability 0, and the mass of the answers is a little too small.

    Args:
        at: settings of the server (`study.base.Endpoint`).
        answers: none is the beginning of another.
    """
    server = Server(at)
    model, _ = server.served()

    def one(item: Item) -> tuple[list[float], str]:
        request = {"role": "user", "content": filled(rubric, dict(item))}
        answer = server.reach(
            lambda: server.client.chat.completions.create(
                model=model,
                messages=[request],  # type: ignore[list-item]
                max_tokens=1,
                temperature=1.0,
                top_p=1.0,
                logprobs=True,
                top_logprobs=SHOWN,
            )
        )
        shown = answer.choices[0].logprobs
        if shown is None or not shown.content or not shown.content[0].top_logprobs:
            raise RewardError(f"{server.url} reports no probabilities of tokens (top_logprobs), which a judge needs")
        likely = [(token.token.strip(), float(np.exp(token.logprob))) for token in shown.content[0].top_logprobs]
        begun = dict.fromkeys(answers, 0.0)
        for token, p in likely:
            if token and len(meant := [answer for answer in answers if answer.startswith(token)]) == 1:
                begun[meant[0]] += p
        return list(begun.values()), max(likely, key=lambda pair: pair[1])[0]

    def ask(items: Sequence[Item]) -> Opinions:
        with ThreadPoolExecutor(at.get("concurrency", 64)) as pool, progress_bar(len(items), "text", "judging") as bar:
            found = []
            for each in pool.map(one, items):
                found.append(each)
                bar.update()
        return Opinions(np.array([p for p, _ in found]), [token for _, token in found], np.zeros(len(found)))

    return ask
