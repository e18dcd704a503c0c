"""Pages from templates: self-contained HTML, inline style, no script, no outside file; every text is escaped.

The study card is the page that every study has: exactly what was run, with what, from which files, and which of it is
our choice.

Snakemake's own report writes params, captions and results into the page as JSON inside script elements, as they are: a
`</script>` in a reward's description would end the element, and what follows would run. `escape_report` has it write
JSON with its angle brackets and ampersands as escapes, so that it contains no markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from alignment_limits.files import atomic

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
REPORTER = "snakemake.report.html_reporter"
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def dumps(value: Any, **options: Any) -> str:
    """JSON without `<`, `>` and `&`, which occur within its strings only."""
    return json.dumps(value, **options).translate(_ESCAPES)


def escape_report() -> None:
    """Have Snakemake's reporter, where it is loaded, write its JSON by `dumps`."""
    for name, module in list(sys.modules.items()):
        if name.startswith(REPORTER) and hasattr(module, "json"):
            vars(module)["json"] = SimpleNamespace(dumps=dumps, loads=json.loads)


@dataclass(frozen=True)
class Cell:
    """A table cell: a text, and a smaller one under it."""

    text: str
    below: str = ""


def render(template: str, title: str, **values: Any) -> str:
    """A complete document.

    Args:
        template: its file's name.
        title: of the page.
        values: what the template is about: texts, rows of texts and cells.
    """
    return TEMPLATES.get_template(template).render(title=title, **values) + "\n"


def caption(entry: Any, study: Any) -> str:
    """What the report says about a figure or a page, as reStructuredText.

    Args:
        entry: with a `description`, and the `details` to which it links: a page of the documentation, which may be
            followed by a comma and a section. The description may contain {study}, {gold}, {source} (the base model,
            or the table or files of scores) and {tempered} (the reward of tempered sampling).
        study: a `Study`, which has these names.
    """
    page, comma, section = entry.details.partition(",")
    source = f"scores are from ``{study.scores.source}``" if study.scores else ""
    source = f"samples are from ``{study.samples.source}``" if study.samples else source
    source = f"the base model is ``{study.model.name}``" if study.prompts else source
    tempered = (study.tempered and study.tempered.reward) or study.gold
    names = {"study": study.study, "gold": study.gold, "source": source, "tempered": tempered}
    return f"{entry.description.format(**names)}\nDetails: `{page} <../../{page}>`__{comma}{section}."


def write_page(document: str, path: str | Path) -> None:
    """Write a page as UTF-8, complete or not at all.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written.
    """
    with atomic(path) as temporary:
        temporary.write_text(document, "utf-8", errors="replace")  # a model may emit lone surrogates


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
    deviations = [found for made in provenance.values() if (found := (made.get("run") or {}).get("deviation"))]
    return render(
        "study_card.html",
        f"Study card: {config.get('study', 'unnamed')}",
        learning=bool(config.get("learning")),
        rewards=_rewards(config, preflights or {}),
        seeds=_seeds(config, provenance),
        versions=_versions(provenance),
        deviation=next(iter(deviations), None),
        configuration=yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=100),
        tables=_tables(provenance),
    )


def _rewards(config: Mapping[str, Any], preflights: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
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
    return rows


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


def _versions(provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Package → version; several when artifacts were made with different ones."""
    found: dict[str, set[str]] = {}
    for p in provenance.values():
        for package, version in (p.get("versions") or {}).items():
            found.setdefault(str(package), set()).add(str(version))
    return {
        k: ", ".join(sorted(v)) + (" (differs between tables)" if len(v) > 1 else "") for k, v in sorted(found.items())
    }


def _tables(provenance: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    known = {"study", "stage", "config", "config_digest", "code", "seed", "versions", "record", "place"}
    rows = []
    for path, p in provenance.items():
        more = {k: v for k, v in p.items() if k not in known}
        shown = json.dumps(more, sort_keys=True, ensure_ascii=False) if more else "–"
        rows.append([path, str(p.get("stage", "–")), str(p.get("config_digest", "–")), str(p.get("code", "–")), shown])
    return rows


def _plain(value: Any) -> Any:
    """Plain data for YAML: mappings and sequences of any kind as dict and list, anything odd as text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
