"""A study that starts from a table of samples: the numbers of the study that drew them, with nothing sampled."""

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal
from project import STUDY, Project
from reduced import DEFAULT
from reported import check

from alignment_limits.study.load import over_default
from alignment_limits.tables.artifacts import read_provenance, read_tables
from alignment_limits.tables.schemas.samples import SAMPLES, SCORES

CHECK = """reply=$(sed 's/.*"reply": "//; s/", "answer": null}$//')
case "$reply" in *[A-Z]*) echo 1 capital ;; *) echo 0 ;; esac
"""
LETTER = {"kind": "verifier", "answer": "answer", "extract": "[A-Za-z]", "ignore": ["case"]}
PROGRAM = {"command": ["sh", "check.sh"], "network": True}
VERIFIERS = {
    "letter": LETTER,
    "capital": {
        "kind": "verifier",
        "match": "program",
        "source": {"path": "check.sh"},
        "program": PROGRAM,
        "answer": None,
    },
    "both": {"kind": "sum", "terms": {"letter": 1.0, "capital": 0.5}},
}


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A project with the samples of the finished study as a user's table, in another order."""
    project = finished.copy(tmp_path_factory.mktemp("brought") / "project")
    drawn = read_tables(sorted((project.folder / "results/tiny/samples/tiny").glob("*.parquet")), SAMPLES)
    prompts = pl.read_parquet(project.folder / "results/tiny/prompts.parquet").select("prompt_id", prompt="text")
    judged = pl.when(pl.int_range(pl.len()) % 4 > 0).then(pl.col("text").str.len_chars() % 7)
    # the answer of a reply is its last letter; right is the most frequent one, or a capital of it
    right = pl.col("text").str.extract_all("[A-Za-z]").list.last().str.to_uppercase().mode().sort().first()
    table = drawn.join(prompts, on="prompt_id").with_columns(judge=judged, answer=right.over("prompt_id"))
    (project.folder / "check.sh").write_text(CHECK)
    table.sample(fraction=1, shuffle=True, seed=1).write_parquet(project.folder / "mine.parquet")
    return project


def write(project: Project, **more) -> dict:
    kept = {key: STUDY[key] for key in ("gold", "rewards", "ensembles", "limits")}
    values = {"study": "mine", "samples": {"table": "mine.parquet", "parts": 3}, **kept, **more}
    (project.folder / "study.yaml").write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
    return values


def test_a_table_of_samples_gives_the_numbers_of_the_study_that_drew_them(project):
    rewards = STUDY["rewards"] | {"vader": {"kind": "lexicon", "lexicon": "vader"}}
    rewards |= {"judge": {"kind": "column", "column": "judge", "partial": True}, **VERIFIERS}
    values = write(project, rewards=rewards, tradeoffs={"verifiable": {"reward": "letter"}})
    jobs = set(project.plan().jobs)
    assert not {"sample", "convert", "preflight_sampling", "read_samples"} & jobs
    said = project.run()
    assert "Traceback" not in said
    mine, tiny = project.folder / "results/mine", project.folder / "results/tiny"
    for file in ("ensembles/standardised.parquet", "limits/frontier.parquet", "limits/best_of_n.parquet"):
        own, theirs = pl.read_parquet(mine / file), pl.read_parquet(tiny / file)
        if "optimized" in own.columns:
            own = own.filter(pl.col("optimized").is_in(theirs["optimized"].implode()))
        assert_frame_equal(own.select(theirs.columns), theirs, check_exact=True, check_row_order=False)
    texts = pl.read_parquet(project.folder / "mine.parquet").sort("prompt_id", "sample_id")
    judged = read_tables(sorted((mine / "scores/judge").glob("*.parquet")), SCORES)
    assert judged["score"].to_list() == texts["judge"].to_list()
    labels = pl.read_parquet(mine / "limits/labels.parquet")
    assert labels.select("labels", "share").unique().rows() == [("judge", 0.75)]
    verified(mine, texts)
    project.run("--report", "mine.html")
    check(project.folder, "mine", project.folder / "mine.html", over_default(DEFAULT, values))
    assert not project.plan().jobs
    (project.folder / "check.sh").write_text(CHECK.replace("A-Z", "A-Y"))
    again = project.plan()
    assert {"fetch", "score", "score_sum"} <= set(again.jobs)
    assert not {"read_table_of_samples", "score_light"} & set(again.jobs), "only what the program decides"
    (project.folder / "check.sh").write_text(CHECK)


def verified(mine, texts: pl.DataFrame) -> None:
    """Verifiers' scores and answers are those of the texts; the answers vote, and replies without one are counted."""
    parts = sorted((mine / "scores/letter").glob("*.parquet"))
    found = read_tables(parts, SCORES)
    letter = texts["text"].str.extract_all("[A-Za-z]").list.last().str.to_lowercase()
    assert found["answer"].to_list() == letter.to_list()
    assert (
        found["score"].to_list()
        == (letter == texts["answer"].str.to_lowercase()).fill_null(False).cast(float).to_list()
    )
    failed = [read_provenance(part)["run"]["failed"] * pl.read_parquet(part).height for part in parts]
    assert sum(failed) == pytest.approx(letter.null_count())
    capital = read_tables(sorted((mine / "scores/capital").glob("*.parquet")), SCORES)
    assert capital["score"].to_list() == texts["text"].str.contains("[A-Z]").cast(float).to_list()
    both = read_tables(sorted((mine / "scores/both").glob("*.parquet")), SCORES)
    assert both["score"].to_list() == (found["score"] + 0.5 * capital["score"]).to_list()
    table = pl.read_parquet(mine / "tradeoffs/verifiable.parquet")
    vote = table.filter(method="majority", k=1)["pass_rate"][0]
    assert vote == pytest.approx(found["score"].mean(), abs=0.05)
    assert {"limit", "best-of-n", "majority", "best-of-majority", "selected"} == set(table["method"])


def test_a_bad_table_is_refused_before_anything_is_scored(project):
    table = pl.read_parquet(project.folder / "mine.parquet")
    bad = table.with_columns(logprob=pl.when(pl.int_range(pl.len()) == 6).then(1.0).otherwise("logprob"))
    bad.write_parquet(project.folder / "bad.parquet")
    write(project, study="bad", samples={"table": "bad.parquet"})
    said = project.run(check=False)
    assert "bad.parquet: 'logprob' is above 0; give log-probabilities in nats, in row 7" in said
    assert "Traceback" not in said
    assert not (project.folder / "results/bad/ensembles").exists()


def test_samples_of_another_project_are_scored(project):
    """Rewards of the study and the file's own score; the verdict on what drew the samples has its page."""
    rows = [
        {
            "prompt": f"question {i}",
            "reply": f"answer {j}" + "a" * ((i * j) % 5),
            "judge": (i + 2 * j) % 7,
            "model": "one",
        }
        for i in range(6)
        for j in range(16)
    ]
    pl.DataFrame(rows).write_csv(project.folder / "log.csv")
    rewards = {"vowels": STUDY["rewards"]["vowels"], "judge": {"kind": "column", "column": "judge"}}
    values = {"samples": {"import": {"files": ["log.csv"]}}, "gold": "judge", "rewards": rewards, "ensembles": {}}
    values["units"] = "raw"
    write(project, study="imported", **values)
    project.run()  # the log says neither tokens nor why replies ended
    assert "Gains are in gold's own" in (project.folder / "results/imported/report/headline.html").read_text("utf-8")
    own = pl.read_parquet(project.folder / "results/imported/raw/frontier.parquet")
    plain = pl.read_parquet(project.folder / "results/imported/limits/frontier.parquet")
    scales = pl.read_parquet(project.folder / "results/imported/ensembles/scales.parquet")
    factor = plain["evaluated"].replace_strict(dict(scales.select("reward", "scale").iter_rows()))
    assert_frame_equal(own.select("gain", "kl"), plain.select(pl.col("gain") * factor, "kl"))
    table = pl.read_parquet(project.folder / "results/imported/ensembles/rewards.parquet")
    assert table.select("vowels", "judge").null_count().row(0) == (0, 0)
    assert table.height == len(rows)
    assert "log.csv" in (project.folder / "results/imported/report/provenance.html").read_text("utf-8")
