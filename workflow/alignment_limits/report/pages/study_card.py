"""The study card: exactly what was run, with what, from which files, and which of it is our choice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from alignment_limits.report.pages.page import bullets, page, pairs, table, tag

OUR_CHOICE = (
    "Everything but the formulas is our choice. Of [L] (arXiv 2605.07105) only the abstract and outline "
    "were available to us, so its models, prompts, rewards, budgets and numbers are unknown to us and not "
    "imitated.",
    "Base model, its precision, prompts, sampling law (temperature, top-p, token limit) and number of samples.",
    "Which reward is gold and which are proxies; the standardisation (centred per prompt, scaled by the "
    "within-prompt spread on base samples); ensemble members and aggregators.",
    "Grids of β, KL and n; the bias correction at fixed KL; the rules for what counts as reliable; "
    "intervals from a bootstrap over prompts; the thresholds behind the verdicts.",
    "The base law is the model cut at the token limit: a sequence ends at its end token or there, and KL and "
    "gain are of that truncated law.",
)
OUR_CHOICE_OF_LEARNING = (
    "The worlds are enumerated: no language model, no prompts, no sampled text; policies and distances are exact.",
    "Of [B] (arXiv 2506.01523) the toy gives contexts, responses, γ, the laws of the logits and n up to 65,536. The "
    "sampler of pairs, seeds, larger n and every world and setting beside that toy are our choice.",
    "The grid of β, and how it is chosen: by an oracle (least mean forward KL over seeds at each n), and by each "
    "seed's own held-out pairs.",
    "A normal prior keeps fitted rewards finite on separable data. PMLE and distillation with a bounded KL have no "
    "global minimum there: theirs is the one joined to π₀ as β falls from infinity.",
    "Intervals are t-intervals over seeds; the thresholds behind the verdicts.",
)


def study_card(
    config: Mapping[str, Any],
    provenance: Mapping[str, Mapping[str, Any]],
    preflights: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """HTML of the study card.

    Args:
        config: the study file as it was run.
        provenance: artifact's path → what `artifacts.read_provenance` says of it.
        preflights: reward → the figures of its preflight.
    """
    body = [
        tag("h2", "What is our choice"),
        *_choices(config, preflights or {}),
        tag("h2", "Seeds"),
        pairs(_seeds(config, provenance)),
        tag("h2", "Software"),
        pairs(_versions(provenance)),
        *_engines(provenance),
        tag("h2", "Configuration"),
        tag("pre", yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100)),
        tag("h2", "Provenance of the tables"),
        _tables(provenance),
        tag("h2", "Licences"),
        tag(
            "p",
            "The code is under Apache-2.0 (LICENSE). Weights, lexicons and prompts are third parties' and "
            "are not redistributed here; their licences and sources are in resources/LICENCES.md of the "
            "repository.",
        ),
    ]
    lead = "The exact settings, seeds and versions behind every number and figure of this report."
    return page(f"Study card: {config.get('study', 'unnamed')}", body, lead)


def _choices(config: Mapping[str, Any], preflights: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if config.get("learning"):
        return [bullets(OUR_CHOICE_OF_LEARNING)]
    return [bullets(OUR_CHOICE), tag("h2", "Rewards and their caveats"), _rewards(config, preflights)]


def _rewards(config: Mapping[str, Any], preflights: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, reward in (config.get("rewards") or {}).items():
        role = "gold" if name == config.get("gold") else "proxy"
        found = _preflight(preflights.get(name) or {})
        rows.append([name, role, str(reward.get("kind", "")), _source(reward), reward.get("note") or "–", found])
    for name, ensemble in (config.get("ensembles") or {}).items():
        rows.append(
            [
                name,
                "ensemble",
                str(ensemble.get("aggregator", "")),
                ", ".join(ensemble.get("members", [])),
                "–",
                "–",
            ]
        )
    return table(["name", "role", "kind", "from", "caveat", "preflight"], rows)


def _preflight(figures: Mapping[str, Any]) -> str:
    """What the preflight found that a reader should know."""
    found = []
    if figures.get("constant"):
        found.append(f"all probe texts scored {figures['lowest']:.6g}")
    if "dtype" in figures:
        moved = figures["dtype_deviation"]
        shown = "not measured" if moved is None else f"up to {moved:.1%} of the spread"
        found.append(f"{figures['dtype']} against float32: {shown}")
    return "; ".join(found) or "–"


def _source(reward: Mapping[str, Any]) -> str:
    source = reward.get("source") or {}
    where = next((str(source[k]) for k in ("package", "hub", "path") if source.get(k)), "")
    return where or str(reward.get("function") or reward.get("lexicon") or "–")


def _seeds(config: Mapping[str, Any], provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    seeds = {"study": str(config.get("seed", 0))}
    for p in provenance.values():
        stage = str(p.get("stage", "?"))
        seeds[f"stage {stage}"] = str(p.get("seed", "–"))
    if config.get("learning"):
        seeds["worlds and pairs"] = (
            "a world's derive from study seed, its own number and n; it is a column of the rates"
        )
    else:
        seeds["samples"] = (
            "each request's seed derives from study seed, prompt and block; it is a column of the samples"
        )
    return seeds


def _engines(provenance: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How far the engine that drew the base's replies is from the one that reads them."""
    found = [d for p in provenance.values() if (d := (p.get("run") or {}).get("deviation"))]
    if not found:
        return []
    said = (
        f"{found[0]['replies']} of the base's replies were read again by a plain forward pass in float32. The sampling "
        f"engine's log-probabilities differ from it by at most {found[0]['largest']:.1g} nats a reply, "
        f"{found[0]['mean']:.1g} on average."
    )
    return [tag("h2", "The sampling engine"), tag("p", said)]


def _versions(provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Package → version; several when artifacts were made with different ones."""
    found: dict[str, set[str]] = {}
    for p in provenance.values():
        for package, version in (p.get("versions") or {}).items():
            found.setdefault(str(package), set()).add(str(version))
    return {
        k: ", ".join(sorted(v)) + (" (differs between tables)" if len(v) > 1 else "") for k, v in sorted(found.items())
    }


def _tables(provenance: Mapping[str, Mapping[str, Any]]) -> str:
    known = {"study", "stage", "config", "config_digest", "code", "seed", "versions", "record", "place"}
    rows = []
    for path, p in provenance.items():
        more = {k: v for k, v in p.items() if k not in known}
        shown = json.dumps(more, sort_keys=True, ensure_ascii=False) if more else "–"
        rows.append([path, str(p.get("stage", "–")), str(p.get("config_digest", "–")), str(p.get("code", "–")), shown])
    return table(["table", "stage", "settings", "code", "more"], rows)


def _plain(value: Any) -> Any:
    """Plain data for YAML: mappings and sequences of any kind as dict and list, anything odd as text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
