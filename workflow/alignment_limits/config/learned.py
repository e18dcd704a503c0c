"""What a recipe that learns from preference pairs needs of the rest of its study."""

from __future__ import annotations

from typing import Any

from alignment_limits.config.preferences import NOT_OF_THE_BASE, Preferences
from alignment_limits.config.sampling import Prompts, Sampling
from alignment_limits.config.training import ESTIMATE_KL, FITTED, Recipe, Run


def check_learnable(
    where: str, recipe: Recipe, made: Preferences | None, prompts: Prompts | None, sampling: Sampling
) -> None:
    """Refuse a recipe whose pairs are not there, or are not what its objective takes them for.

    Raises:
        ValueError: names the recipe's key and what to change.
    """
    if made is None or prompts is None:
        raise ValueError(f"{where}.learn_from: the study has no `preferences:` to learn from")
    named = recipe.learn_from or []
    lacking = [setting for setting in named if setting not in made.settings]
    if lacking:
        raise ValueError(
            f"{where}.learn_from names '{lacking[0]}'; preferences.settings has: {', '.join(made.settings)}"
        )
    there, seeds, most = prompts.count * made.pairs_per_prompt, max(recipe.seeds) + 1, max(recipe.pairs or [0])
    if seeds * most > there:
        raise ValueError(
            f"{where}.pairs: {most} for each of the seeds 0 to {seeds - 1} are {seeds * most} pairs, but there are "
            f"{there} ({prompts.count} prompts with preferences.pairs_per_prompt: {made.pairs_per_prompt})"
        )
    if sampling.temperature != 1 or sampling.top_p < 1:
        raise ValueError(f"{where}.learn_from needs sampling.temperature: 1 and sampling.top_p: 1")
    if recipe.objective in FITTED and made.features is None:
        raise ValueError(f"{where}: {recipe.objective} fits a reward; say on what in preferences.features")
    other = [setting for setting in named if setting in NOT_OF_THE_BASE]
    if other and recipe.objective in ESTIMATE_KL and max(recipe.coefficients) > 0:
        raise ValueError(
            f"{where}: {recipe.objective} estimates its KL on the pairs' replies, and those of {other[0]} do not "
            "follow the base's law: set coefficients: [0]"
        )


def learned_from(run: Run, made: Preferences | None) -> dict[str, Any] | None:
    """What decides the pairs that a run learns from, and the reward it fits to them; None where it learns from none."""
    if made is None or run.setting is None:
        return None
    kept = {"reward", "beta", "gamma", "pairs_per_prompt"}
    kept |= {"features", "text"} if run.objective in FITTED else set()
    return made.model_dump(include=kept) | {"level": made.settings[run.setting][0]}
