"""The scripts of figures and report, each on small tables as Snakemake would run it."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import synthetic
from snakemake.iocontainers import InputFiles, OutputFiles, Params

from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import BEST_OF_N, ESTIMATORS, FRONTIER, OVER_OPTIMISATION
from alignment_limits.tables.schemas.limits import HEADLINE
from alignment_limits.tables.schemas.samples import (
    GOLD,
    PROMPTS,
    SAMPLES,
    SAMPLES_SUMMARY,
    SCALES,
    STANDARDISED,
    TRIALS,
)
from alignment_limits.tables.schemas.tradeoffs import COLUMNS, POLICY_COLUMNS

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow/scripts"
MADE = {"study": "tiny", "stage": "test", "seed": 0, "versions": {"numpy": "2"}}
NAMES = {"gold": "gold", "proxies": list(synthetic.RHO), "ensembles": list(synthetic.ENSEMBLES)}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Paths of one study's tables."""
    folder = tmp_path_factory.mktemp("tables")
    scores = synthetic.standardised(prompts=6, samples=16)
    ids = scores.select("prompt_id", "sample_id")
    samples = ids.with_columns(
        text=pl.lit("<b>text</b>"), token_ids=pl.lit([1, 2], dtype=pl.List(pl.Int32)), n_tokens=pl.lit(2),
        logprob=pl.lit(-1.0), finish_reason=pl.lit("stop"), seed=pl.lit(1),
    )  # fmt: skip
    prompts = ids.select("prompt_id").unique().sort("prompt_id")
    none = pl.lit(None, dtype=pl.String)
    made = {
        "frontier": (synthetic.frontier(), FRONTIER),
        "best_of_n": (synthetic.best_of_n(), BEST_OF_N),
        "over_optimisation": (synthetic.over_optimisation(), OVER_OPTIMISATION),
        "scales": (synthetic.scales(), SCALES),
        "standardised": (scores, STANDARDISED),
        "summary": (synthetic.summary(), SAMPLES_SUMMARY),
        "samples": (samples, SAMPLES),
        "prompts": (prompts.with_columns(text=pl.lit("say"), reference=none, source=none), PROMPTS),
    }
    for name, (table, schema) in made.items():
        rest = {c: pl.lit(None, kind) for c, kind in schema.columns.items() if c not in table.columns}
        write_table(table.with_columns(**rest), folder / f"{name}.parquet", schema, MADE)
    return {name: str(folder / f"{name}.parquet") for name in made}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a script with the given inputs and params; returns the folder of its outputs."""
    monkeypatch.chdir(tmp_path)

    def go(script, inputs, outputs, figure="", estimator="", **p):
        job = SimpleNamespace(
            input=named(inputs),
            output=OutputFiles(fromdict={name: str(tmp_path / file) for name, file in outputs.items()}),
            params=Params(
                fromdict={"p": p, "code": {"alignment_limits": "c"}, "figure": figure, "estimator": estimator}
            ),
            config={"study": "tiny", "seed": 0},
            log=[str(tmp_path / "log")],
            rule=script,
        )
        runpy.run_path(str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": job})
        return tmp_path

    return go


def named(files):
    """Snakemake's own container: all files in a row, by name a file or a list of them."""
    out = InputFiles()
    for name, value in files.items():
        many = isinstance(value, list)
        start = len(out)
        out.extend(value if many else [value])
        out._set_name(name, start, end=len(out) if many else None)
    return out


STYLE = {"figures": {"width_inches": 3.4, "font_size": 8, "palette": "colorblind"}}
FILES = {"pdf": "f.pdf", "png": "f.png"}


@pytest.mark.parametrize(
    ("figure", "inputs", "p"),
    [
        ("frontier", {"table": "frontier", "best_of_n": "best_of_n"}, {"gold": "gold"}),
        ("gold_under_proxies", {"table": "frontier"}, NAMES),
        ("over_optimisation_tilt", {"fits": "over_optimisation", "frontier": "frontier"}, NAMES),
        ("over_optimisation_best_of_n", {"fits": "over_optimisation", "best_of_n": "best_of_n"}, NAMES),
        ("win_rate", {"table": "best_of_n"}, NAMES),
        ("reward_distributions", {"scores": "standardised"}, {"gold": "gold", "rewards": ["gold", *synthetic.RHO]}),
    ],
)
def test_figures(run, tables, figure, inputs, p):
    out = run("figure", {k: tables[name] for k, name in inputs.items()}, FILES, figure=figure, **STYLE, **p)
    assert (out / "f.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "f.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "log").read_text().count("\n") == 1  # its seconds


def test_headline(run, tables):
    names = ["frontier", "best_of_n", "over_optimisation", "scales", "standardised", "summary"]
    files = {"table": "headline.parquet", "html": "headline.html", "findings": "findings.json"}
    out = run(
        "headline",
        {k: tables[k] for k in names},
        files,
        gold="gold",
        proxies=NAMES["proxies"],
        members=synthetic.MEMBERS,
        notes={"vader": "a caveat"},
    )
    assert read_table(out / "headline.parquet", HEADLINE).height > 40
    assert "a caveat" in (out / "headline.html").read_text("utf-8")
    assert "holds" in (out / "log").read_text("utf-8")
    (out / "frontier.png").write_bytes(b"\x89PNG")
    inputs = {"findings": str(out / "findings.json"), "figure": str(out / "frontier.png"), "policies": []}
    run("first_page", inputs, {"rst": "first_page.rst"}, gold="gold")
    page = (out / "first_page.rst").read_text("utf-8")
    assert "**How close does each method come\\?** Best" in page
    assert ".. image:: data:image/png;base64,iVBORw==" in page


def test_study_card(run, tables):
    inputs = {"tables": [tables["frontier"]], "samples": tables["samples"], "scores": [tables["scales"]]}
    out = run("study_card", inputs, {"html": "study.html"}, study={"study": "tiny", "limits": {"betas": [1.0]}})
    assert tables["frontier"] in (out / "study.html").read_text("utf-8")


def test_sample_page(run, tables):
    inputs = {"prompts": tables["prompts"], "samples": [tables["samples"]], "standardised": tables["standardised"]}
    out = run("sample_page", inputs, {"html": "samples.html"}, gold="gold")
    assert "&lt;b&gt;text&lt;/b&gt;" in (out / "samples.html").read_text("utf-8")


def test_a_missing_table_is_one_message_without_a_traceback(run, tables, capsys):
    with pytest.raises(SystemExit):
        run("figure", {"table": "nowhere.parquet"}, FILES, figure="gold_under_proxies", **STYLE, **NAMES)
    message = capsys.readouterr().err
    assert "nowhere.parquet does not exist" in message
    assert "Traceback" not in message


def test_is_gold_fit_to_be_gold(run, tables, tmp_path):
    roles = ["expert", "other", *["sample"] * 4]
    rows = [(f"p{d}", role, float(role == "expert")) for d in range(9) for role in roles]
    trials = pl.DataFrame(rows, schema=["prompt_id", "role", "score"], orient="row")
    write_table(trials, tmp_path / "good.parquet", TRIALS, MADE)
    upside_down = trials.with_columns(score=-pl.col("score"))
    write_table(upside_down, tmp_path / "bad.parquet", TRIALS, MADE)
    inputs = {"standardised": tables["standardised"], "trials/gold": "good.parquet", "trials/vader": "bad.parquet"}
    out = run(
        "gold",
        inputs,
        {"table": "gold.parquet", "html": "gold.html"},
        gold="gold",
        beside={"gold": "document", "vader": "prompt"},
        above_samples=0.85,
        above_other=0.95,
        seed=0,
    )
    table = read_table(out / "gold.parquet", GOLD)
    assert dict(table.select("reward", "fit").iter_rows()) == {"gold": True, "vader": False}
    assert table["spearman"].is_null().to_list() == [True, False]
    assert "The gold reward gold passes." in (out / "gold.html").read_text("utf-8")


@pytest.mark.parametrize("name", ["proxy_gap", "over_optimisation"])
def test_a_study_of_gold_alone_has_empty_tables_of_proxies(run, tables, name):
    settings = {"gold": "gold", "optimized": [], "betas": [1.0], "bootstrap": 200, "seed": 0}
    inputs = {"standardised": tables["standardised"]}
    out = run("estimate", inputs, {"table": "t.parquet"}, estimator=name, **settings)
    assert read_table(out / "t.parquet", ESTIMATORS[name].contract).height == 0


def test_columns_of_samples_and_of_policies_give_side_effects(run, tables):
    p = {"refusals": ["text"], "numbers": [], "texts": [], "policies": ["ppo"]}
    columns = run("sample_columns", {"samples": [tables["samples"]]}, {"columns": "c.parquet"}, **p) / "c.parquet"
    table = read_table(columns, COLUMNS)
    assert table.columns == ["prompt_id", "sample_id", "tokens", "characters", "truncated", "refusal"]
    assert table.row(0)[2:] == (2.0, 11.0, 0.0, 1.0)
    theirs = run("policy_columns", {"ppo/samples": [tables["samples"]]}, {"columns": "p.parquet"}, **p) / "p.parquet"
    assert read_table(theirs, POLICY_COLUMNS)["policy"].unique().to_list() == ["ppo"]
    settings = {"gold": "gold", "optimized": ["gold"], "evaluated": ["gold", "vader"], "bootstrap": 200, "seed": 0}
    settings |= {"columns": ["tokens"], "length_kls": [0.1], "kls": [0.1], "best_of": [2]}
    inputs = {"standardised": tables["standardised"], "columns": str(columns)}
    for name, rows in (("side_effects", 10), ("length_control", 0)):  # all replies have one length
        out = run("estimate", inputs, {"table": "t.parquet"}, estimator=name, **settings)
        assert read_table(out / "t.parquet", ESTIMATORS[name].contract).height == rows
