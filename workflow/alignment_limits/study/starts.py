"""What a study starts from: a base model, samples, scores, or worlds with a known target. Each has its own sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alignment_limits.study.base import by_file_name
from alignment_limits.study.judges import Verifier
from alignment_limits.study.rewards import InformationGain, InTable, Labelled
from alignment_limits.study.sampling import chunk_size

MOST_SHARDS = 20_000  # Snakemake plans a few hundred jobs per second

if TYPE_CHECKING:
    from alignment_limits.study.study import Study


def check_start(study: Study) -> None:
    """Check that a study has the sections of one start, and of no other.

    Raises:
        ValueError: names the sections that are missing or needless.
    """
    if study.samples is None and (columns := [n for n, reward in study.rewards.items() if isinstance(reward, InTable)]):
        raise ValueError(f"rewards.{columns[0]} is a column of a table of samples, but the study has no `samples:`")
    _check_partial(study)
    _check_closed(study)
    _check_references(study)
    made = {"model": study.model, "prompts": study.prompts, "sampling": study.sampling, "rewards": study.rewards}
    of_models = {name: getattr(study, name) for name in ("policies", "proposals", "training", "enumerable", "tempered")}
    if study.learning is not None:
        more = {"scores": study.scores, "samples": study.samples, "preferences": study.preferences}
        _refuse("a study of learning", made | more | {"tempered": study.tempered})
    elif study.scores is not None:
        _refuse("a study with a table of scores", made | of_models | {"samples": study.samples})
        if study.gold != study.scores.gold:
            raise ValueError(f"gold is '{study.gold}', but scores.gold is '{study.scores.gold}'; remove the first")
    elif study.samples is not None:
        _check_samples(study)
    elif missing := [key for key, value in made.items() if not value]:
        raise ValueError(
            f"a study needs {', '.join(missing)}, or `samples:` with a table of texts, or `scores:` with one of scores"
        )


def _refuse(start: str, sections: dict[str, Any]) -> None:
    if needless := [key for key, value in sections.items() if value]:
        raise ValueError(f"{start} does not use {', '.join(needless)}; leave them out")


def _check_samples(study: Study) -> None:
    names = ("prompts", "documents", "gold_labels", "training", "enumerable", "tempered")
    _refuse("a study that starts from samples", {name: getattr(study, name) for name in names})
    if not study.rewards:
        raise ValueError("a study that starts from samples needs rewards, which score them")
    for name, reward in study.rewards.items():
        if isinstance(reward, Labelled):
            raise ValueError(f"rewards.{name} is trained on gold labels of further prompts, which samples do not have")
        if isinstance(reward, InformationGain) and reward.source is None:
            raise ValueError(f"rewards.{name} reads the base model; name its `source`, as samples come without one")
    given = [name for name, reward in study.rewards.items() if isinstance(reward, InTable)]
    if given and study.all_policies:
        raise ValueError(f"rewards.{given[0]} is a column of the table, so it cannot score the policies' samples")
    needed = {"model": study.model, "sampling": study.sampling}
    if not study.all_policies:
        _refuse("a study of samples without policies", needed)
    elif missing := [key for key, value in needed.items() if not value]:
        raise ValueError(
            f"policies need {' and '.join(missing)}: the model that drew the samples, and its temperature and lengths"
        )


def _check_references(study: Study) -> None:
    """Refuse a verifier that would read the references of several experts as one answer."""
    several = study.documents and len(study.documents.references) > 1
    for name, reward in study.rewards.items() if several else ():
        if (
            isinstance(reward, Verifier)
            and not reward.program
            and (reward.answer, reward.several) == ("reference", None)
        ):
            raise ValueError(f"rewards.{name}: documents have several references, one a line; add several: lines")


def _check_partial(study: Study) -> None:
    """Refuse uses of a reward that need its score of every sample."""
    members = [
        (f"ensembles.{name}.members", each) for name, ensemble in study.ensembles.items() for each in ensemble.members
    ]
    terms = [(f"rewards.{name}.terms", each) for name in study.rewards for each in study.terms(name) if each != name]
    judge = [("preferences", study.preferences.reward or study.gold)] if study.preferences else []
    for where, name in [*members, *terms, *judge]:
        if name in study.partial:
            raise ValueError(f"{where} uses '{name}', which only some samples have; choose a reward that all have")


def _check_closed(study: Study) -> None:
    """Refuse replies of closed policies that the study cannot score."""
    closed = study.tradeoffs.closed_policies
    if not closed:
        return
    where = "tradeoffs.closed_policies"
    if study.scores:
        raise ValueError(
            f"{where}: a table of scores has their scores in rows of its own: name them in scores.pool.closed"
        )
    if study.learning:
        raise ValueError(f"{where}: a study of learning has no replies; leave it out")
    if given := [name for name, reward in study.rewards.items() if isinstance(reward, InTable)]:
        raise ValueError(
            f"{where}: rewards.{given[0]} is a column of the samples, so it cannot score other replies. Start from a "
            "table of scores with the policies' rows instead (scores.pool.closed)"
        )
    by_file_name(closed)
    if taken := [name for name in closed if name in {"base", *(policy.name for policy in study.all_policies)}]:
        raise ValueError(f"{where}: '{taken[0]}' is the name of another policy of the study; rename one")


def check_plannable(study: Study) -> None:
    """Check that Snakemake can plan the number of files.

    Raises:
        ValueError: names the settings to lower.
    """
    if study.learning is not None:
        levels = sum(len(levels) for levels in study.learning.settings.values())
        if levels * study.learning.seeds > MOST_SHARDS * 16:
            raise ValueError(f"learning.seeds: {levels * study.learning.seeds} worlds are too many; use fewer seeds")
    if study.prompts is None or study.sampling is None:
        return  # samples that exist are few parts
    s, blocks = study.sampling, -(-study.sampling.samples_per_prompt // study.sampling.block)
    size = chunk_size(s.shard_tokens, s.block, s.max_new_tokens)
    blocks += len(study.all_policies) * -(-(s.policy_samples_per_prompt or s.samples_per_prompt) // s.block)
    shards = -(-study.prompts.count // size) * blocks
    if study.gold_labels:
        shards += -(-study.gold_labels.prompts // size) * -(-study.gold_labels.samples_per_prompt // s.block)
    if shards > MOST_SHARDS:
        raise ValueError(
            f"prompts.count and sampling.samples_per_prompt make {shards:,} shards of {s.shard_tokens:,} new "
            f"tokens, and at most {MOST_SHARDS:,} can be planned; lower one of them, or raise sampling.shard_tokens"
        )


def needed_of_samples(study: Study) -> dict[str, str]:
    """Columns that the table of samples must have for this study, with the reason of each."""
    needed = {"token_ids": "a policy's KL is of the tokens that were drawn"} if study.all_policies else {}
    preferences = study.preferences
    tilted = preferences and (not preferences.reward or "tempered-pairs" in preferences.settings)
    return needed | ({"logprob": "preferences depend on the base's log-probabilities"} if tilted else {})


def columns_of_prompts(study: Study) -> list[str]:
    """Columns that rewards read with the prompt."""
    return list(dict.fromkeys(name for reward in study.rewards.values() for name in getattr(reward, "columns", [])))
