"""The pages that tables alone make, in one table: what writes each, from which tables, where the report shows it.

A new page is a function here that reads its tables, an entry, and a template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from alignment_limits.importers.imported import FINDINGS, SOURCES
from alignment_limits.policies.target import chosen, distances, main_setting
from alignment_limits.report.claims.learning import learning_claims, nearest
from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.claims.trained import proxy_claims, target_claims
from alignment_limits.report.gap import sentences
from alignment_limits.report.pages import learning
from alignment_limits.report.pages.provenance import provenance_page
from alignment_limits.tables.artifacts import Schema, read_table
from alignment_limits.tables.schemas import limits as contracts
from alignment_limits.tables.schemas.samples import SCALES
from alignment_limits.tables.standardised import scales_of
from alignment_limits.tables.units import in_raw_units

Tables = Mapping[str, pl.DataFrame]
Made = tuple[str, Sequence[Verdict]]  # the document, and its verdicts


def _own(file: str, table: str, tables: Tables, p: Mapping[str, Any]) -> pl.DataFrame:
    """A table in the rewards' own units, if the study has these."""
    if "scales" not in tables:
        return tables[table]
    return in_raw_units(file, tables[table], scales_of(tables["scales"]), p["gold"])


def _policies(study: str, tables: Tables, p: Mapping[str, Any]) -> Made:
    rows = _own("policies/policies.parquet", "policies", tables, p)
    parts = sentences(tables["gap"]) if "gap" in tables else []
    raw = "scales" in tables
    return learning.policies_page(study, rows, gold=p["gold"], top_p=p["top_p"], raw=raw, gaps=parts), ()


def _targets(study: str, tables: Tables, p: Mapping[str, Any]) -> Made:
    targets, exact = tables["targets"], tables.get("exact")
    verdicts = target_claims(chosen(main_setting(distances(targets, exact))))
    shown = _own("policies/targets.parquet", "targets", tables, p)
    return learning.targets_page(study, shown, exact, verdicts, raw="scales" in tables), verdicts


def _provenance(study: str, tables: Tables, p: Mapping[str, Any]) -> Made:
    return provenance_page(study, tables["findings"], tables["sources"]), ()


def _exact(study: str, tables: Tables, p: Mapping[str, Any]) -> Made:
    own = {name: _own(f"exact/{name}.parquet", name, tables, p) for name in tables if name != "scales"}
    return learning.exact_page(study, own, gold=p["gold"], raw="scales" in tables), ()


def _proxies(study: str, tables: Tables, p: Mapping[str, Any]) -> Made:
    files = {"proxies": "proxies", "onsets": "proxy_onsets", "ensembles": "proxy_ensembles"}
    singles, onsets, groups = (_own(f"limits/{file}.parquet", name, tables, p) for name, file in files.items())
    verdicts = proxy_claims(singles, groups)
    return learning.proxies_page(study, p["gold"], singles, onsets, groups, verdicts, raw="scales" in tables), verdicts


def _learning(study: str, tables: Tables, p: Mapping[str, Any]) -> Made:
    rates, summary, slopes = (tables[name] for name in ("rates", "summary", "slopes"))
    gammas = [tables["gamma"]] if "gamma" in tables else []
    verdicts = learning_claims(rates, summary, slopes, p)
    page = learning.learning_page(study, p, verdicts, summary, slopes, nearest(rates, summary), gammas)
    return page, verdicts


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        make: from the study's name, its tables and the settings to the document.
        file: below report/.
        category, label: where and how the report lists it.
        tables: name → table below results/<study>/, and its contract.
        details: the page of the documentation that explains it.
        description: its caption in the report, without that link (`page.caption`).
    """

    make: Callable[[str, Tables, Mapping[str, Any]], Made]
    file: str
    category: str
    label: str
    tables: Mapping[str, tuple[str, Schema]]
    details: str
    description: str


PAGES = {
    "learning_page": Page(
        _learning,
        "learning.html",
        "0 Summary",
        "verdicts on claims, with numbers",
        {
            "rates": ("learning/rates.parquet", contracts.RATES),
            "summary": ("learning/summary.parquet", contracts.LEARNING_SUMMARY),
            "slopes": ("learning/slopes.parquet", contracts.SLOPES),
            "gamma": ("learning/gamma.parquet", contracts.GAMMA),
        },
        details="docs/preferences.md",
        description=(
            "**Verdicts on claims about learning from preferences, in the study {study}.** The claims are those of "
            "*Beyond RLHF: A Unified Theoretical Framework of Alignment* (arXiv 2506.01523). The rule behind each "
            "verdict is in a fold-out; rules compare 95% intervals over seeds. Tables: ``learning/rates.parquet`` "
            "(chosen policies), ``learning/sweep/`` (all coefficients)."
        ),
    ),
    "proxies_page": Page(
        _proxies,
        "proxies.html",
        "0 Summary",
        "trained proxies and their ensembles",
        {
            "proxies": ("limits/proxies.parquet", contracts.PROXIES),
            "onsets": ("limits/proxy_onsets.parquet", contracts.PROXY_ONSETS),
            "ensembles": ("limits/proxy_ensembles.parquet", contracts.PROXY_ENSEMBLES),
            "scales": ("ensembles/scales.parquet", SCALES),
        },
        details="docs/proxies.md",
        description=(
            "**Trained proxies of gold, their ensembles, and verdicts on two claims.** Gold is ``{gold}``. Does the "
            "cost of a proxy grow with its error and with 1/β? Do ensembles reduce it, down to a floor set by the "
            "correlation of their errors? The rule behind each verdict is in a fold-out. Tables: "
            "``limits/proxies.parquet``, ``limits/proxy_onsets.parquet``, ``limits/proxy_ensembles.parquet``."
        ),
    ),
    "provenance_page": Page(
        _provenance,
        "provenance.html",
        "0 Summary",
        "what drew the samples",
        {"findings": ("scores/provenance.parquet", FINDINGS), "sources": ("scores/sources.parquet", SOURCES)},
        details="docs/import.md",
        description=(
            "**What drew the imported samples of the study {study}.** Limits are right if the samples are of one law, "
            "that is, of one model with one set of sampling settings. Findings that were accepted make limits wrong. "
            "Each finding has its count, what it does to a limit, and a remedy. Table: ``scores/provenance.parquet``."
        ),
    ),
    "policies_page": Page(
        _policies,
        "policies.html",
        "5 Policies",
        "where each policy stands",
        {
            "policies": ("policies/policies.parquet", contracts.POLICIES),
            "gap": ("policies/gap.parquet", contracts.GAP),
            "scales": ("ensembles/scales.parquet", SCALES),
        },
        details="docs/policies.md",
        description=(
            "**Where each policy stands, for every reward and ensemble.** KL from the base model with a cross-check, "
            "gain, the limit at that KL, share of the limit, distance from the optimal policy and win rate against the"
            " base model. Brackets are 95% intervals over prompts. Gold (``{gold}``) comes first. Table: "
            "``policies/policies.parquet``."
        ),
    ),
    "targets_page": Page(
        _targets,
        "targets.html",
        "5 Policies",
        "distance to the preferences' target",
        {
            "targets": ("policies/targets.parquet", contracts.TARGETS),
            "exact": ("exact/targets.parquet", contracts.EXACT_TARGETS),
            "scales": ("ensembles/scales.parquet", SCALES),
        },
        details="docs/preferences.md",
        description=(
            "**Distance of each policy from the target of the preferences.** KL(target‖policy) and KL(policy‖target) "
            "with 95% intervals over prompts, and verdicts on claims of *Beyond RLHF: A Unified Theoretical Framework "
            "of Alignment* (arXiv 2506.01523) in the study {study}. Table: ``policies/targets.parquet``."
        ),
    ),
    "exact_page": Page(
        _exact,
        "exact.html",
        "6 Exact values",
        "estimates and exact values",
        {
            "frontier": ("exact/frontier.parquet", contracts.EXACT_FRONTIER),
            "best_of_n": ("exact/best_of_n.parquet", contracts.EXACT_BEST_OF_N),
            "policies": ("exact/policies.parquet", contracts.EXACT_OF_POLICIES),
            "scales": ("ensembles/scales.parquet", SCALES),
        },
        details="docs/enumerable.md",
        description=(
            "**How the estimates agree with exact values.** The page lists how many 95% intervals contain the exact "
            "value, which policies are below the exact limit at their KL, and how far each policy is from its own "
            "optimum after training. Tables: ``exact/frontier.parquet``, ``exact/best_of_n.parquet``, "
            "``exact/policies.parquet``."
        ),
    ),
}


def pages_of(study: Any) -> dict[str, Page]:
    """The pages that a study has, by name."""
    has = {
        "learning_page": study.learning,
        "proxies_page": study.gold_labels and study.gold_labels.sweep,
        "provenance_page": (start := study.scores or study.samples) and start.imported,
        "policies_page": study.all_policies,
        "targets_page": study.preferences and study.all_policies,
        "exact_page": study.enumerable,
    }
    return {name: page for name, page in PAGES.items() if has[name]}


def tables_of(name: str, study: Any) -> dict[str, str]:
    """A page's tables that a study has: name → path below results/<study>/."""
    lacking = {
        ("learning_page", "gamma"): not (study.learning and study.learning.estimate_gamma),
        ("targets_page", "exact"): not study.enumerable,
        ("exact_page", "policies"): not study.all_policies,
        ("policies_page", "gap"): not any(run.has_beta for run in study.runs),
    }
    lacking |= {(name, "scales"): study.units != "raw"}
    found = {table: path for table, (path, _) in PAGES[name].tables.items() if not lacking.get((name, table))}
    if name == "provenance_page" and study.samples:
        return {table: path.replace("scores/", "samples/") for table, path in found.items()}
    return found


def settings_of(name: str, study: Any) -> dict[str, Any]:
    """What a page depends on, of a study file."""
    if name == "learning_page":
        known = {"world", "slope_from", "objectives", "seeds", "settings"}
        return dict(study.learning.model_dump(include=known))
    return {"gold": study.gold} | ({"top_p": study.sampling.top_p} if name == "policies_page" else {})


def make(name: str, study: str, files: Mapping[str, str], p: Mapping[str, Any]) -> Made:
    """Read a page's tables and write it.

    Args:
        name: of the page.
        study: its name.
        files: paths of the tables that the study has.
        p: `settings_of` the study.

    Raises:
        ArtifactError: a table is missing or damaged.
    """
    contracts_of = {table: contract for table, (_, contract) in PAGES[name].tables.items()}
    return PAGES[name].make(study, {table: read_table(path, contracts_of[table]) for table, path in files.items()}, p)
