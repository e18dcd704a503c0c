"""What can be wrong with samples from elsewhere: each kind of finding, what it does to a limit, and what to do.

`provenance.py` looks for them. The table of docs/import.md lists the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

REFUSED, NOTED = "refused", "noted"
MOST_LOST = 0.01  # share of samples that may be lost for a reason that can depend on the reply
MOST_FEW = 0.25  # share of prompts with few replies from which no limit is reliable
FEW = 4  # replies
LEFT_OUT = 16  # prompts with fewer samples are left out of limits


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        effect: what it does to a limit. remedy: what the user can do.
        severity: refused (until accepted by name), noted, or "refused above …" where it depends on the share.
    """

    effect: str
    remedy: str
    severity: str = NOTED


_MIXTURE = "The limit is that of a mixture, and its KL refers to a policy that does not exist."

KINDS: Mapping[str, Kind] = {
    "several-models": Kind(_MIXTURE, "--keep model=NAME", REFUSED),
    "several-steps": Kind(
        "The policies of a training run are mixed. Later steps have larger rewards, so the base seems better and the "
        "gain smaller than they are.",
        "--keep step=N; the first step shows the base",
        REFUSED,
    ),
    "several-laws": Kind(_MIXTURE, "--keep law=VALUE", REFUSED),
    "several-settings": Kind(_MIXTURE, "--keep temperature=VALUE (or another setting)", REFUSED),
    "several-filters": Kind(
        "Each reply occurs once per filter, so replies are counted several times.", "--keep filter=NAME", REFUSED
    ),
    "reference-replies": Kind(
        "Replies of people or of other models are among the samples. They are often better, so the limit is too high.",
        "--keep origin=model",
        REFUSED,
    ),
    "selected-replies": Kind(
        "The replies were selected by their scores, so the samples do not show the model's distribution.",
        "sample the prompts again",
        REFUSED,
    ),
    "dropped-prompts": Kind(
        "Prompts whose replies all score the same have no gain. Without them the mean gain is too large.",
        "write the file without this filter",
        REFUSED,
    ),
    "repeated-groups": Kind(
        "The same replies occur in several places. They count as independent samples, so intervals are too narrow.",
        "leave one of the files or steps out",
        REFUSED,
    ),
    "one-id-several-prompts": Kind(
        "Samples of different prompts are compared as if they were of one.", "give another --id, or one file", REFUSED
    ),
    "greedy": Kind(
        "All replies to a prompt are the same. Such a law has no gain at any KL.", "sample at temperature 1", REFUSED
    ),
    "unfinished-log": Kind(
        "The evaluation did not finish. Replies that take longer are missing more often.", "run it to its end", REFUSED
    ),
    "errors": Kind(
        "These requests have no reply and are left out. If long or unusual replies fail more often, the rest is not "
        "a sample of the law.",
        "run these requests again",
        f"refused above {MOST_LOST:.0%}",
    ),
    "failed-judgements": Kind(
        "The judge's answer could not be read. These scores are missing, possibly not at random.",
        "judge these replies again",
        f"refused above {MOST_LOST:.0%}",
    ),
    "few-replies": Kind(
        f"Prompts with fewer than {LEFT_OUT} samples are left out of limits. If these are more than a quarter, no "
        "limit is reliable.",
        "draw more replies for each prompt",
        f"refused if over {MOST_FEW:.0%} of prompts have fewer than {FEW}",
    ),
    "unscored": Kind(
        "Scores are missing. A study refuses a reward with missing scores.",
        "--complete NAME leaves out replies without it, which is right if they are missing at random",
    ),
    "left-out": Kind(
        "Replies without a score were left out. The limit is right if scores are missing at random.", "score them"
    ),
    "shared-scores": Kind(
        "The score belongs to several replies together, such as a majority vote. It is missing for each of them.",
        "score each reply",
    ),
    "merged-filters": Kind("Each filter has its own scores of the same replies. Replies count once.", "none is needed"),
    "unparsed-answers": Kind("The filter found no answer in these replies; they score as wrong.", "none is needed"),
    "several-turns": Kind(
        "The model took several turns. The text is its last one; the score is of all. The law is that of the agent.",
        "none is needed",
    ),
    "may-drop-prompts": Kind(
        "The program that wrote the file can leave out prompts without a gain. The mean gain is then too large.",
        "check its settings",
    ),
    "no-end-of-text": Kind("It is not known whether a reply ended or was cut.", "none is needed"),
    "unequal-counts": Kind("Prompts have different numbers of samples. Estimators allow it.", "none is needed"),
    "repeated-prompts": Kind(
        "The same prompt occurs under several ids. Such prompts form one cluster, so that intervals stay right.",
        "none is needed",
    ),
    "truncated-law": Kind(
        "The base is the law with these settings, not the model at temperature 1. KLs refer to it. A policy that "
        "can draw other replies has an infinite KL to it.",
        "sample at temperature 1 without top-p and top-k",
    ),
    "unknown-settings": Kind(
        "The file does not state temperature and top-p. The limit is that of the unknown law.", "look them up"
    ),
    "unknown-model": Kind("The file does not name the model that drew the replies.", "look it up"),
    "identical-replies": Kind("All replies to these prompts are the same, so they have no gain.", "none is needed"),
    "constant-scores": Kind("A reward that is constant within every prompt cannot be used.", "leave it out"),
    "sorted-samples": Kind(
        "Samples are in the order of a score. Estimators do not use the order, but the first ones are a selection.",
        "do not use --samples",
        "refused with --samples",
    ),
    "empty-replies": Kind("These replies are empty texts. They are kept.", "none is needed"),
    "cut-replies": Kind(
        "These replies were cut at the limit of tokens. The law includes this limit.", "allow longer replies"
    ),
    "retokenised": Kind(
        "The file has texts without token ids. The KL of a policy needs tokens, and tokenising the text again can "
        "give others than those that were sampled. Scores are not affected.",
        "keep token ids when you sample",
    ),
    "infinite-logprobs": Kind(
        "Log-probabilities are minus infinity or not a number. They are left out; other columns stay.",
        "compute them again before you use KLs",
    ),
    "clipped-logprobs": Kind(
        "Log-probabilities were clipped at one value. They are left out, because KLs from them would be wrong.",
        "compute them again before you use KLs",
    ),
    "wrong-logprobs": Kind(
        "Log-probabilities are above zero, or their number is not that of the tokens. They are left out.",
        "compute them again before you use KLs",
    ),
}


@dataclass(frozen=True)
class Finding:
    """What was found in a file.

    Attributes:
        name: of its kind. severity: refused or noted.
        what: with counts. count, of: samples or prompts. examples: where, or which.
    """

    name: str
    severity: str
    what: str
    count: int
    of: int
    examples: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """Its effect and its remedy."""
        return KINDS[self.name]

    def as_dict(self, accepted: bool = False) -> dict[str, Any]:
        """Plain data for a table's provenance."""
        plain = asdict(self) | {"examples": list(self.examples), "effect": self.kind.effect, "remedy": self.kind.remedy}
        return plain | {"severity": "accepted" if accepted else self.severity}

    def __str__(self) -> str:
        shown = f" ({'; '.join(self.examples)})" if self.examples else ""
        return f"{self.severity:<8} {self.name}: {self.what}{shown}"


def found(
    name: str, what: str, count: int, of: int, examples: tuple[str, ...] = (), refuse: bool | None = None
) -> Finding:
    """A finding. `refuse` decides where its kind depends on the share."""
    severity = KINDS[name].severity
    if severity not in (REFUSED, NOTED):
        severity = REFUSED if refuse else NOTED
    return Finding(name, severity, what, count, of, examples)
