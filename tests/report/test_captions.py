"""Every caption renders with the settings of every kind of study, as reStructuredText without a warning."""

import re
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
import yaml
from docutils.core import publish_string
from reported import captions_of, source_of

from alignment_limits.report.figures.entries import FIGURES
from alignment_limits.report.pages.page import caption
from alignment_limits.report.pages.table import PAGES
from alignment_limits.study.load import load_study, over_default

ROOT = Path(__file__).resolve().parents[2]
FILES = {path.stem: path for path in (ROOT / "workflow/report").glob("*.rst")}
ENTRIES = {f"figure_{name}": figure for name, figure in FIGURES.items()} | PAGES
CAPTIONS = sorted(ENTRIES.keys() | FILES.keys() - {"caption"})  # that file shows the caption of an entry
STUDIES = sorted([ROOT / "config/config.yaml", *(ROOT / "config/studies").glob("*.yaml")])


IMPORTED = ROOT / "config/studies/imported.yaml"  # no such file: a study that imports its scores
STUDIES.append(IMPORTED)
IMPORT = {
    "study": "mine",
    "scores": {"import": {"files": ["runs/a", "runs/b"]}, "gold": "rm", "proxies": ["length"]},
    "tradeoffs": {"golds": {"of": ["rm", "length"], "constraint": {"reward": "length"}}, "divergences": {}},
}
POOLED = ROOT / "config/studies/pooled.yaml"  # no such file: scores of a policy without log-probabilities, a noisy gold
STUDIES.append(POOLED)
POOL = {
    "study": "pooled",
    "scores": {
        "table": "scores.csv",
        "gold": "judge",
        "proxies": ["again"],
        "pool": {"column": "law", "log_ratios": {}, "closed": ["gpt"]},
    },
    "tradeoffs": {"label_noise": {"repeats": {"judge": ["judge", "again"]}}},
}
NO_FILES = {IMPORTED: IMPORT, POOLED: POOL}


def settings(path, **more):
    """What Snakemake's `config` holds in a run of this study file."""
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    study = NO_FILES.get(path) or yaml.safe_load(path.read_text("utf-8"))
    return over_default(default, study | more)


def rendered(name, config):
    source = FILES[name if name in FILES else "caption"].read_text("utf-8")
    p = {"caption": caption(ENTRIES[name], load_study(config))} if name in ENTRIES else {}
    shown = SimpleNamespace(config=config, params=SimpleNamespace(p=p))
    return jinja2.Template(source, undefined=jinja2.StrictUndefined).render(snakemake=shown)


def html_of(text):
    strict = {"report_level": 2, "halt_level": 2, "output_encoding": "unicode"}
    return publish_string(text, writer="html5", settings_overrides=strict).partition("<main")[2]


MOST_WORDS = 80
ABOUT = re.compile(r"<\.\./\.\./((?:docs|config)/\w+\.md)>`__(?:, section ([\w -]+)\.)?")


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_a_caption_is_short(path):
    config = settings(path)
    for name in sorted(captions_of(config) - {"workflow"}):
        words = re.sub("<.*?>", " ", html_of(rendered(name, config)).partition(">")[2]).split()
        assert len(words) <= MOST_WORDS, f"{name}: {len(words)} words"


@pytest.mark.parametrize("name", CAPTIONS)
def test_a_caption_links_the_page_that_explains(name):
    any_study = load_study(settings(ROOT / "config/config.yaml"))
    text = caption(ENTRIES[name], any_study) if name in ENTRIES else source_of(name)
    pages = ABOUT.findall(re.sub(r"\s+", " ", text))
    assert pages or name == "sample_page"
    for page, section in pages:
        text = (ROOT / page).read_text("utf-8")
        assert not section or re.search(rf"(?m)^#+ {section}$", text), section


def names_gold(name):
    return bool(re.search(r"{ ?gold ?}", source_of(name)))


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_captions_of_every_study(path):
    config = settings(path)
    gold = config.get("gold") or config.get("scores", {}).get("gold")
    for name in sorted(captions_of(config)):
        html = html_of(rendered(name, config))
        assert "<strong>" in html, name
        assert not re.search(r"snakemake\.config|None|\(\)|\*\*|``|\bof ,", html), name
        if names_gold(name):
            assert f"{gold}</span>" in html, f"{name} does not name gold"


def test_a_study_of_scores_names_its_table_and_no_model():
    config = settings(ROOT / "config/studies/scores_only.yaml")
    assert "``resources/safety_scores.parquet``" in rendered("figure_frontier", config)
    assert "``tox-block``" in rendered("figure_ensemble_gap", config)
    assert "``resources/safety_scores.parquet``" in rendered("workflow", config)


def test_a_study_of_imported_samples_names_its_files():
    config = settings(IMPORTED)
    for name in ("figure_frontier", "workflow"):
        assert "``runs/a, runs/b``" in rendered(name, config)


def test_all_prompts_of_a_source_are_all():
    config = settings(ROOT / "config/studies/small.yaml")
    config["prompts"]["count"] = None
    assert "all prompts" in rendered("workflow", config)


def test_names_are_shown_as_they_are():
    """A trailing underscore is a reference in reStructuredText, a star emphasis."""
    config = settings(ROOT / "config/studies/scores_only.yaml")
    config["scores"] |= {"gold": "score_*", "table": "my_*`table`_.csv"}
    for name in captions_of(settings(ROOT / "config/studies/scores_only.yaml")):
        html = html_of(rendered(name, config))
        if names_gold(name):
            assert "score_*" in html
        if name == "workflow":
            assert "my_*`table`_.csv" in re.sub("<.*?>", "", html)


def test_the_reports_front_page_of_a_study_of_learning():
    html = html_of(rendered("workflow", {"study": "toy", "learning": {}}))
    assert "<strong>toy</strong>" in html
    assert "best-of-n" not in html


def test_every_caption_belongs_to_some_study():
    used = set().union(*(captions_of(settings(path)) for path in STUDIES))
    assert set(CAPTIONS) == used
