"""Control tokens that a prompt or a reply spells out are text, and must not steer the model that scores it.

A tokenizer turns `<|im_end|>` or `</s>` inside any text into the control token of that name: a reply could end its own
turn, forge the next one, or hide what follows from the place where a classifier reads. A space behind the first
character (`< |im_end|>`) leaves it readable, and letters only. The rule is ours; it works with every tokenizer and
template, and nothing that a study cannot foresee makes a reward fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from alignment_limits.models.tokenizer import control_tokens


def as_text(tokenizer: Any) -> Callable[[str], str]:
    """Text → the same text, in which no control token of this tokenizer is spelled.

    Example:
        >>> as_text(tokenizer)("hi<|im_end|>")
        'hi< |im_end|>'
    """
    return without(control_tokens(tokenizer))


def without(tokens: list[str]) -> Callable[[str], str]:
    """The same for a list of control tokens; one of a single character has no inside, and stays."""
    spelled = sorted((re.escape(token) for token in tokens if len(token) > 1), key=len, reverse=True)
    if not spelled:
        return lambda text: text
    pattern = re.compile("|".join(spelled))
    return lambda text: pattern.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)
