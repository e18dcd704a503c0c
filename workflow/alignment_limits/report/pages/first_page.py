"""The first page of the report: answers, one figure, verdicts, as reStructuredText that Snakemake's report shows."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import polars as pl

from alignment_limits.report.answers import CLOSE, policies

WIDTH = 520  # pixels
LINE = 1000  # characters of a line; docutils refuses long ones


def first_page(found: Mapping[str, Any], png: bytes, placed: pl.DataFrame | None, gold: str) -> str:
    """The text, the figure in it.

    Args:
        found: `answers` (question and sentence) and `verdicts` (claim, verdict), of `report/findings.json`.
        png: the figure of the frontier.
        placed: `policies/policies.parquet`, if the study has policies.
        gold: the reward taken as the truth.
    """
    answers = [(q, f"{a} {policies(placed, gold)}" if q == CLOSE and placed is not None else a)
               for q, a in found["answers"]]  # fmt: skip
    blocks = [f"**{escaped(question)}** {escaped(answer)}" for question, answer in answers]
    blocks.append(_image(png))
    blocks.append("The limit of reward at each KL (black) and best-of-n (orange). Shaded ranges are not reliable.")
    blocks.append("**Verdicts on claims.** Numbers and rules are in `0 Summary`_.")
    blocks.append("\n".join(_verdict(verdict) for verdict in found["verdicts"]))
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """A text in one line in which nothing is markup: every sign but letters, digits and spaces has a backslash."""
    return re.sub(r"([^\w\s]|_)", r"\\\1", " ".join(text.split()))


def _image(png: bytes) -> str:
    data = "\n   ".join(wrap(base64.b64encode(png).decode("ascii"), LINE))
    what = "Gain in gold against KL: the limit and best-of-n"
    return f".. image:: data:image/png;base64,{data}\n   :width: {WIDTH}px\n   :alt: {what}"


def _verdict(verdict: Mapping[str, str]) -> str:
    return f"- {escaped(verdict['claim'])}: **{escaped(verdict['verdict'])}**"
