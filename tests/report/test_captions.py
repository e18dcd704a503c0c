"""Every caption renders with the default study's settings, as reStructuredText without a warning."""

from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
import yaml
from docutils.core import publish_string

ROOT = Path(__file__).resolve().parents[2]
CAPTIONS = sorted((ROOT / "workflow/report").glob("*.rst"))


@pytest.mark.parametrize("path", CAPTIONS, ids=lambda p: p.stem)
def test_caption(path):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    source = path.read_text("utf-8")
    text = jinja2.Template(source, undefined=jinja2.StrictUndefined).render(snakemake=SimpleNamespace(config=config))
    settings = {"report_level": 2, "halt_level": 2, "output_encoding": "unicode"}
    html = publish_string(text, writer="html5", settings_overrides=settings)
    assert "<strong>" in html
    assert "snakemake.config" not in html


def test_the_reports_front_page_of_a_study_of_learning():
    config = {"study": "toy", "learning": {}}
    source = (ROOT / "workflow/report/workflow.rst").read_text("utf-8")
    text = jinja2.Template(source, undefined=jinja2.StrictUndefined).render(snakemake=SimpleNamespace(config=config))
    html = publish_string(text, writer="html5", settings_overrides={"halt_level": 2, "output_encoding": "unicode"})
    assert "<strong>toy</strong>" in html
    assert "best-of-n" not in html


def test_there_is_a_caption_for_every_figure_and_page():
    figures = {p.stem for p in (ROOT / "workflow/scripts").glob("figure_*.py")}
    assert {p.stem for p in CAPTIONS} == figures | {
        "workflow",
        "headline",
        "study_card",
        "sample_page",
        "policies_page",
        "exact_page",
        "gold",
        "learning_page",
        "proxies_page",
        "targets_page",
    }
