"""Which stages a study has, in the order its data flow; each is a file of workflow/rules."""

from __future__ import annotations

from alignment_limits.config.study import Study


def stages(study: Study) -> list[str]:
    """A study starts at a base model, at a table of scores, or in worlds whose target is known."""
    if study.learning:
        return ["learning", "study"]
    if study.scores:
        start = ["scores"]
    else:
        start = ["models", "prompts", "sampling", "rewards", "sums", "generated_text"]
        start += ["documents", "gold"] if study.documents else []
        start += ["features"] if study.gold_labels or (study.preferences and study.preferences.features) else []
        start += ["proxies"] if study.gold_labels else []
        start += ["fine_tuning"] if any(r.kind == "fine-tuned" for r in study.rewards.values()) else []
        start += ["proxy_sweep"] if study.gold_labels and study.gold_labels.sweep else []
    rest = ["ensembles", "limits"]
    rest += ["preferences"] if study.preferences else []
    rest += ["figures", "report"]
    rest += ["training", "policies"] if study.all_policies else []
    heads = any(reward.kind == "trained" for reward in study.rewards.values())
    rest += ["policy_heads"] if study.all_policies and heads else []
    if study.enumerable:
        rest += ["enumerable"]
        rest += ["exact_policies"] if study.all_policies else []
    if study.preferences and study.all_policies:
        rest += ["targets"] + (["exact_targets"] if study.enumerable else [])
    return [*start, *rest, "study"]
