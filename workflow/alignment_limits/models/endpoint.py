"""A client of servers that speak OpenAI's protocol, with retries, and errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from alignment_limits.errors import ModelError


class Server:
    """A server, reached through openai's client (a part of vLLM), which repeats requests with growing pauses.

    Args:
        at: `url`, `model`, `retries`, `timeout` and `key`, as in `study.base.Endpoint`.

    Raises:
        ModelError: the key's variable is not set; later, from every call: no server answers, or it refuses.
    """

    def __init__(self, at: Mapping[str, Any]) -> None:
        import openai

        key = os.environ.get(at["key"], "") if at.get("key") else "none"
        if not key:
            raise ModelError(f"endpoint.key: the environment variable {at['key']} is not set")
        self.url: str = at["url"]
        self._retries = at.get("retries", 10)
        self._errors = openai
        self.client = openai.OpenAI(
            base_url=self.url, api_key=key, max_retries=self._retries, timeout=at.get("timeout", 600.0)
        )
        self._wanted = at.get("model")

    def served(self) -> tuple[str, Any]:
        """Name and card of the model that the settings name, or of the only one."""
        models = {card.id: card for card in self.reach(lambda: list(self.client.models.list()))}
        name = self._wanted or next(iter(models), "")
        if name not in models or (self._wanted is None and len(models) > 1):
            raise ModelError(f"{self.url} serves {', '.join(models) or 'no model'}: name one in endpoint.model")
        return name, models[name]

    def reach(self, call: Callable[[], Any]) -> Any:
        """The server's answer to a call of the client."""
        try:
            return call()
        except self._errors.APIConnectionError as error:
            raise ModelError(
                f"{self.url} does not answer ({error.__cause__ or error}) after {self._retries} retries: start the "
                "server and run again (finished shards are kept)"
            ) from error
        except self._errors.APIStatusError as error:
            raise ModelError(f"{self.url} refuses with status {error.status_code}: {error.message[:300]}") from error
