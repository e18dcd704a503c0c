"""The provenance verdict: every kind of finding is found where it is, with its count, and not where it is not."""

import re
from pathlib import Path

import foreign
import numpy as np
import pytest
from foreign import PROMPTS, reply

from alignment_limits.errors import TableError
from alignment_limits.importers.findings import KINDS
from alignment_limits.importers.provenance import expected_extremes

ROOT = Path(__file__).parents[2]


def samples(prompts=6, replies=20, **more):
    """A clean file: one model, temperature 1, enough replies."""
    return [
        {"prompt": f"{PROMPTS[i % 2]} ({i})", "reply": reply(i, j), "rm": float((7 * j + i) % 11), "model": "m"}
        | {"temperature": 1, "top_p": 1.0}
        | {name: value(i, j) for name, value in more.items()}
        for i in range(prompts)
        for j in range(replies)
    ]


def test_a_clean_file_has_no_refusal(imports):
    imported = imports(samples())
    assert [f.name for f in imported.findings] == ["retokenised"]
    assert imported.provenance["one_law"] is True
    imported.check()


# what a file has, the finding, whether it is refused, its count
CASES = [
    ({"model": lambda i, j: f"m{j % 2}"}, "several-models", True, 2),
    ({"step": lambda i, j: i}, "several-steps", True, 6),
    ({"filter": lambda i, j: f"f{j % 3}"}, "several-filters", True, 3),
    ({"origin": lambda i, j: "reference" if j == 0 else "model"}, "reference-replies", True, 6),
    ({"temperature": lambda i, j: 1 if j else 0.5}, "several-settings", True, 1),
    ({"top_p": lambda i, j: 0.9}, "truncated-law", False, 120),
    ({"temperature": lambda i, j: 0}, "greedy", True, 120),
    ({"temperature": lambda i, j: None}, "unknown-settings", False, 120),
    ({"model": lambda i, j: None}, "unknown-model", False, 120),
    ({"reply": lambda i, j: None if j < 2 else reply(i, j)}, "errors", True, 12),
    ({"reply": lambda i, j: None if i == j == 0 else reply(i, j)}, "errors", False, 1),
    ({"reply": lambda i, j: reply(i, 0) if i == 2 else reply(i, j)}, "identical-replies", False, 1),
    ({"reply": lambda i, j: reply(i, 0)}, "greedy", True, 6),
    ({"reply": lambda i, j: "  " if j == 3 else reply(i, j)}, "empty-replies", False, 6),
    ({"finish_reason": lambda i, j: "length" if j < 5 else "stop"}, "cut-replies", False, 30),
    ({"rm": lambda i, j: None if j < 3 else float(j % 5)}, "unscored", False, 18),
    ({"rm": lambda i, j: float(i)}, "constant-scores", False, 6),
    ({"rm": lambda i, j: float(-j)}, "sorted-samples", False, 6),
    ({"prompt": lambda i, j: "the same", "prompt_id": lambda i, j: i}, "repeated-prompts", False, 6),
    ({"prompt_id": lambda i, j: i // 2}, "one-id-several-prompts", True, 3),
]


@pytest.mark.parametrize(("more", "name", "refused", "count"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_each_finding_is_counted(found, more, name, refused, count):
    finding = found(samples(**more))[name]
    assert (finding.count, finding.severity) == (count, "refused" if refused else "noted")


def test_the_same_prompt_under_several_ids_is_one_cluster(imports):
    given = samples(prompt=lambda i, j: "same" if i < 2 else f"prompt {i}", prompt_id=lambda i, j: i)
    table = imports(given).table
    clusters = table.unique("prompt_id").sort("prompt_id")["cluster"]
    assert clusters[0] == clusters[1]
    assert clusters.n_unique() == 5
    assert "cluster" not in imports(samples()).table.columns


def test_requests_that_all_failed_are_reported_with_the_reason(imports, tmp_path):
    files = foreign.openai_batch(tmp_path)
    failed = {"custom_id": "0-0", "response": {"status_code": 500, "body": None}, "error": None}
    foreign.jsonl(files[1], [failed])
    with pytest.raises(TableError, match="requests.jsonl: all 10 requests failed, most often with: no reply in"):
        imports(files)


def test_few_replies_are_refused_where_they_are_more_than_a_quarter(found):
    clean = samples()
    few = [s for s in clean if not s["prompt"].endswith("(0)")] + samples(prompts=1, replies=3)
    assert (found(few)["few-replies"].count, found(few)["few-replies"].severity) == (1, "noted")
    assert found(few)["unequal-counts"].what == "from 3 to 20 samples a prompt, median 20"
    assert found(samples(replies=3))["few-replies"].severity == "refused"


def test_groups_that_occur_in_two_files_are_found(found, tmp_path, imports):
    one = foreign.jsonl(tmp_path / "one.jsonl", samples())
    other = foreign.jsonl(tmp_path / "other.jsonl", samples(prompts=2))
    assert found([*one, *other])["repeated-groups"].count == 4
    fresh = foreign.jsonl(tmp_path / "other.jsonl", samples(reply=lambda i, j: reply(i, j + 100)))
    assert "repeated-groups" not in found([*one, *fresh])


def test_rows_that_are_twice_in_one_file_are_found(found):
    once = samples(prompts=2)
    assert found([*once, *once])["repeated-groups"].count == 2
    some = [s for s in once if s["reply"] in {once[0]["reply"], once[1]["reply"]}]
    assert "repeated-groups" not in found([*once, *some]), "a model may say the same again"


def binary(rng, prompts=400, k=8, dropped=True):
    rates = rng.beta(0.7, 0.7, size=prompts)
    wins = rng.random((prompts, k)) < rates[:, None]
    keep = (wins.any(1) & ~wins.all(1)) | (not dropped)
    return [
        {"prompt": f"question {i}", "reply": reply(i, j), "correct": bool(wins[i, j])}
        for i in np.flatnonzero(keep)
        for j in range(k)
    ]


def test_prompts_left_out_because_all_replies_score_the_same_are_noticed(found):
    assert found(binary(np.random.default_rng(0)))["dropped-prompts"].severity == "refused"


@pytest.mark.parametrize("seed", range(3))
def test_complete_sets_of_prompts_and_hard_ones_are_not_suspected(found, seed):
    rng = np.random.default_rng(seed)
    assert "dropped-prompts" not in found(binary(rng, prompts=100, dropped=False))
    wins = rng.random((200, 32)) < 0.5  # no prompt is all right or all wrong, by its law
    given = [{"prompt": str(i), "reply": reply(i, j), "ok": bool(wins[i, j])} for i in range(200) for j in range(32)]
    assert "dropped-prompts" not in found(given)


def test_the_bound_on_missing_prompts_holds_for_any_distribution_of_rates():
    rng = np.random.default_rng(1)
    for rates in (
        rng.beta(0.2, 0.2, 20_000),
        rng.beta(5, 1, 20_000),
        np.full(20_000, 0.1),
        rng.choice([0.02, 0.9], 20_000),
    ):
        wins = rng.binomial(8, rates)
        counts = [int((wins == j).sum()) for j in range(9)]
        assert expected_extremes([0, *counts[1:-1], 0]) <= counts[0] + counts[8] + 3 * (counts[0] + counts[8]) ** 0.5


def traces(values):
    return [
        {"step": 1, "prompt_tokens": [1], "response_tokens": [j, j + 1, j + 2], "reward": float(j % 3), "logprobs": v}
        for j, v in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (float("-inf"), "infinite-logprobs"),
        (float("nan"), "infinite-logprobs"),
        (-9999.0, "clipped-logprobs"),
        (0.5, "wrong-logprobs"),
    ],
)
def test_unusable_log_probabilities_are_left_out(found, imports, value, name):
    rng = np.random.default_rng(0)
    values = rng.normal(-4, 0.5, size=(20, 3)).tolist()
    values[5][1] = value
    assert found(traces(values))[name].count == 1
    kept = imports(traces(values)).table
    assert kept["logprob"].null_count() == 1
    assert kept["logprob"][0] == pytest.approx(sum(values[0]))
    assert kept["reward"].null_count() == 0


def test_log_probabilities_at_one_lowest_value_and_of_another_length_are_left_out(found):
    values = np.random.default_rng(0).normal(-4, 0.5, size=(20, 3)).tolist()
    clipped = [[-20.0, *v[1:]] if j < 4 else v for j, v in enumerate(values)]
    assert found(traces(clipped))["clipped-logprobs"].count == 4
    assert "clipped-logprobs" not in found(traces(values))
    assert found(traces([v[:2] if j == 0 else v for j, v in enumerate(values)]))["wrong-logprobs"].count == 1


def test_one_law_of_several_can_be_kept(imports):
    given = samples(model=lambda i, j: f"m{j % 2}", temperature=lambda i, j: 1 if j % 2 else 0.5)
    kept = imports(given, keep=["model=m1"])
    assert kept.provenance["kept"] == {"model=m1": {"samples": 60, "of": 120}}
    assert kept.refused == []
    for choice, message in [
        ("model=x", "no sample; 'model' is m0, m1|no sample; 'model' is m1, m0"),
        ("step=1", "the samples have no 'step'; they have: "),
    ]:
        with pytest.raises(TableError, match=message):
            imports(given, keep=[choice])


def test_findings_are_accepted_by_name(imports):
    given = samples(model=lambda i, j: f"m{j % 2}", step=lambda i, j: j % 2)
    half = imports(given, accept=["several-models"])
    assert [f.name for f in half.refused] == ["several-steps"]
    with pytest.raises(TableError, match=r"(?s)several-steps: 2 values of step.*Or accept: --accept several-steps$"):
        half.check()
    both = imports(given, accept=["several-models", "several-steps"])
    both.check()
    assert both.provenance["one_law"] is False, "accepted is not the same as right"
    severities = {f["name"]: f["severity"] for f in both.provenance["findings"]}
    assert severities["several-models"] == "accepted"
    assert set(both.table["law"]) == {"m0, 0", "m1, 1"}
    with pytest.raises(TableError, match="there is no finding 'everything'"):
        imports(given, accept=["everything"])


def test_replies_without_a_score_can_be_left_out(imports):
    given = samples(human=lambda i, j: float(j % 4) if j % 2 else None)
    all_ = imports(given)
    assert all_.table["human"].null_count() == 60, "kept as missing"
    part = imports(given, complete=["human"])
    assert (part.table.height, part.table["human"].null_count()) == (60, 0)
    assert {f.name: f.count for f in part.findings}["left-out"] == 60


def test_the_first_samples_of_each_prompt_and_law_can_be_taken(imports):
    given = samples(model=lambda i, j: f"m{j % 2}", rm=lambda i, j: float(j * 7 % 20))
    part = imports(given, most=5, keep=["model=m0"])
    assert part.table.group_by("prompt_id").len()["len"].to_list() == [5] * 6
    assert part.table["text"][:5].to_list() == [
        part.table["text"][0].replace("number 0", f"number {2 * j}") for j in range(5)
    ]
    assert part.provenance["most"] == 5
    ordered = samples(rm=lambda i, j: float(-j))
    assert "sorted-samples" in [f.name for f in imports(ordered, most=10).refused]
    assert imports(ordered).refused == []


def test_the_page_lists_every_kind_of_finding_with_its_severity():
    page = (ROOT / "docs/import.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| ([^|]+) \|", page, re.M))
    assert {name: kind.severity for name, kind in KINDS.items()} == {
        n: s.strip() for n, s in rows.items() if n in KINDS
    }
