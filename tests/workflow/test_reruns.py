"""One thing is edited at a time on a finished study: exactly what it touches would run again, and for that reason."""

import pytest

from alignment_limits.commands.studies import explain

OF_FRONTIER = {"figure_frontier", "figure_gold_under_proxies", "figure_over_optimisation_tilt"}
OF_BEST_OF_N = {"figure_frontier", "figure_win_rate", "figure_over_optimisation_best_of_n"}
OF_LENGTH = {"length_control", "figure_length_control"}
TRADEOFFS = {"side_effects", "cost", "figure_side_effects", "figure_cost"} | OF_LENGTH
OF_TRADEOFFS = {name for name in TRADEOFFS if name.startswith("figure_")}
DRAWING = OF_FRONTIER | OF_BEST_OF_N | {"figure_reward_distributions", "figure_ensemble_gap"} | OF_TRADEOFFS
WRITING = {"headline", "first_page", "study_card"}
ENSEMBLE_GAPS = {"ensemble_gaps", "figure_ensemble_gap"}
ESTIMATING = {"frontier", "best_of_n", "proxy_gap", "over_optimisation", "ensemble_gaps"} | TRADEOFFS - OF_TRADEOFFS
ENSEMBLES = {"ensembles"} | ESTIMATING | DRAWING | WRITING
REWARDS = {"standardise", "link_shards"} | ENSEMBLES
SAMPLES = {"samples_summary", "sample_columns"} | REWARDS
PROMPTS = {"prompts", "preflight_sampling"} | SAMPLES
ONE_PREFLIGHT = {"preflight_reward": 1, "preflight_rewards": 1}
PREFLIGHTS = {"preflight_reward": 3, "preflight_rewards": 1}  # other prompts: rewards are tried on the study's own
NEW = "missing"
OTHER_PROMPTS = dict.fromkeys(
    ["prompts", "samples_summary", "sample_columns", "preflight_sampling", "preflight_reward"],
    "the list of input files changed",
)


def once(*rules):
    """One job of each rule, and of the one that comes last whatever changed."""
    return dict.fromkeys({"manifest"}.union(*rules), 1)


LETTERS = {"kind": "python", "function": "own_rewards:letters"}
VOWELS = {"kind": "python", "function": "own_rewards:vowels"}
WORDS = {"kind": "lexicon", "lexicon": "words", "source": {"path": "words.txt"}}
SETTINGS = {
    "nothing": ({}, {}, {}),
    "beta grid": (
        {"limits": {"betas": [3, 1]}},
        once({"frontier", "proxy_gap"}, OF_FRONTIER, WRITING),
        {"frontier": "setting betas: [1.0, 4.0] → [1.0, 3.0]", "proxy_gap": "setting betas"},
    ),
    "beta grid of ensembles": (
        {"limits": {"ensemble_betas": [1.5]}},
        once(ENSEMBLE_GAPS, {"study_card"}),
        {"ensemble_gaps": "setting ensemble_betas: [1.0] → [1.5]", "study_card": "setting study.limits.ensemble_betas"},
    ),
    "n grid": (
        {"limits": {"best_of": [1, 4]}},
        once({"best_of_n"}, OF_BEST_OF_N, TRADEOFFS - OF_LENGTH, WRITING),
        dict.fromkeys(["best_of_n", "side_effects", "cost"], "setting best_of: [1, 2] → [1, 4]"),
    ),
    "bootstrap": (
        {"limits": {"bootstrap": 300}},
        once(ESTIMATING, DRAWING - {"figure_reward_distributions"}, WRITING),
        dict.fromkeys(ESTIMATING, "setting bootstrap: 200 → 300"),
    ),
    "KLs at which length is held": (
        {"tradeoffs": {"length_control": {"kls": [0.2]}}},
        once(OF_LENGTH, WRITING),
        {"length_control": "setting length_kls"},
    ),
    "phrases of refusals": (
        {"tradeoffs": {"refusals": ["no way"]}},
        once({"sample_columns"}, TRADEOFFS, WRITING),
        {"sample_columns": "setting refusals"},
    ),
    "figure style": (
        {"figures": {"font_size": 9}},
        once(DRAWING, {"first_page", "study_card"}),
        dict.fromkeys(DRAWING, "setting figures.font_size: 8.0 → 9.0") | {"study_card": "font_size"},
    ),
    "one more reward": (
        {"rewards": {"vowels": VOWELS, "letters": LETTERS, "words": WORDS, "short": LETTERS | {"sign": -1}}},
        once(REWARDS) | {"score": 4} | ONE_PREFLIGHT,
        {"score": NEW, "preflight_reward": NEW}
        | dict.fromkeys(["standardise", "preflight_rewards"], "the list of input files changed"),
    ),
    "one reward fewer": (
        {"rewards": {"vowels": VOWELS, "letters": LETTERS}, "ensembles": {}},
        once(REWARDS - ENSEMBLE_GAPS, {"preflight_rewards"}),
        {"standardise": "the list of input files changed", "preflight_rewards": "the list of input files changed"},
    ),
    "another ensemble": (
        {"ensembles": {"mean": {"members": ["letters", "words"], "aggregator": "minimum"}}},
        once(ENSEMBLES),
        {"ensembles": "setting mean.aggregator: mean → minimum"},
    ),
    "a reward's sign": (
        {"rewards": {"vowels": VOWELS, "letters": LETTERS | {"sign": -1}, "words": WORDS}},
        once(REWARDS) | {"score": 4} | ONE_PREFLIGHT,
        {
            "score": NEW,
            "preflight_reward": "setting spec.sign: 1 → -1",
            "standardise": "the list of input files changed",
        },
    ),
    "two rewards swapped": (
        {"rewards": {"vowels": LETTERS, "letters": VOWELS, "words": WORDS}},
        once(REWARDS) | {"score": 8, "preflight_reward": 2, "preflight_rewards": 1},
        {"score": NEW, "preflight_reward": "setting spec.function", "standardise": "the list of input files changed"},
    ),
    "the date of templates, where none is used": (
        {"prompts": {"date": "2031-02-03"}},
        once({"study_card"}),
        {"study_card": "setting study.prompts.date: 2024-07-26 → 2031-02-03"},
    ),
    "gold and a proxy swapped": (
        {"gold": "letters"},
        once(ESTIMATING, DRAWING, WRITING),
        dict.fromkeys(ESTIMATING | {"figure_reward_distributions"}, "setting gold: vowels → letters"),
    ),
    "more samples per prompt": (
        {"sampling": {"samples_per_prompt": 24}},
        once(SAMPLES) | {"sample": 2, "score": 4, "score_light": 2},
        {
            "sample": NEW,
            "score": NEW,
            "score_light": NEW,
        }
        | dict.fromkeys(["samples_summary", "sample_columns", "standardise"], "the list of input files changed"),
    ),
    "more prompts": (
        {"prompts": {"count": 12}},
        once(PROMPTS) | PREFLIGHTS | {"prompts_chunk": 1, "sample": 2, "score": 4, "score_light": 2},
        {"sample": NEW, "score": NEW, "score_light": NEW, "prompts_chunk": NEW} | OTHER_PROMPTS,
    ),
    "a chunk cut short is drawn again at its new length": (
        {"prompts": {"count": 10}},
        once(PROMPTS) | PREFLIGHTS | {"prompts_chunk": 1, "sample": 2, "score": 4, "score_light": 2},
        {"sample": NEW, "score": NEW, "score_light": NEW, "prompts_chunk": NEW} | OTHER_PROMPTS,
    ),
    "another seed": (
        {"seed": 1},
        once(PROMPTS) | PREFLIGHTS | {"prompts_chunk": 2, "sample": 4, "read_samples": 1, "score": 8, "score_light": 4},
        {"read_samples": NEW, "sample": NEW, "score": NEW, "score_light": NEW, "prompts_chunk": NEW} | OTHER_PROMPTS,
    ),
    "another revision of the model": (
        {"model": {"source": {"path": "model", "member": "."}}},
        once(PROMPTS)
        | PREFLIGHTS
        | {"fetch": 1, "convert": 1, "prompts_chunk": 2, "sample": 4, "read_samples": 1, "score": 8, "score_light": 4},
        {
            "fetch": NEW,
            "convert": NEW,
            "read_samples": NEW,
            "sample": NEW,
            "score": NEW,
            "score_light": NEW,
            "prompts_chunk": NEW,
        }
        | OTHER_PROMPTS,
    ),
    "sampling temperature": (
        {"sampling": {"temperature": 0.9}},
        once(PROMPTS) | PREFLIGHTS | {"prompts_chunk": 2, "sample": 4, "read_samples": 1, "score": 8, "score_light": 4},
        {"read_samples": NEW, "sample": NEW, "score": NEW, "score_light": NEW, "prompts_chunk": NEW} | OTHER_PROMPTS,
    ),
}

LIBRARY = "workflow/alignment_limits"
ADD = "\n\ndef added_by_a_test():\n    return 1\n"
FILES = {
    "limits: an estimator": (
        f"{LIBRARY}/limits/ensembles.py",
        ADD,
        once(ESTIMATING, DRAWING - {"figure_reward_distributions"}, WRITING),
        dict.fromkeys(ESTIMATING, "code of limits.ensembles changed"),
    ),
    "tradeoffs: an estimator": (
        f"{LIBRARY}/tradeoffs/cost.py",
        ADD,
        once(ESTIMATING, DRAWING - {"figure_reward_distributions"}, WRITING),
        dict.fromkeys(ESTIMATING, "code of tradeoffs.cost changed"),
    ),
    "limits: compiled sums": (
        f"{LIBRARY}/limits/streaming/kernels.py",
        ADD,
        once(ESTIMATING, DRAWING - {"figure_reward_distributions"}, WRITING),
        dict.fromkeys(ESTIMATING, "code of limits.streaming.kernels changed"),
    ),
    "ensembles: what estimators and training share": (
        f"{LIBRARY}/ensembles/scores.py",
        ADD,
        once(REWARDS),
        {"standardise": "code of ensembles.scores changed"},
    ),
    "rewards: one kind's module": (
        f"{LIBRARY}/rewards/words.py",
        ADD,
        once(REWARDS) | {"score_light": 4} | ONE_PREFLIGHT,
        {"score_light": "code of rewards.words changed", "preflight_reward": "code of rewards.words changed"},
    ),
    "rewards: a user's own function": (
        "own_rewards.py",
        ADD,
        once(REWARDS) | {"score": 8, "preflight_reward": 2, "preflight_rewards": 1},
        {"score": "code of own_rewards changed", "preflight_reward": "code of own_rewards changed"},
    ),
    "rewards: what a user's own function imports": (
        "helper.py",
        ADD,
        once(REWARDS) | {"score": 8, "preflight_reward": 2, "preflight_rewards": 1},
        {"score": "code of helper changed", "preflight_reward": "code of helper changed"},
    ),
    "rewards: a file's content": (
        "words.txt",
        "moron\n",
        once(REWARDS) | {"fetch": 1, "score_light": 4} | ONE_PREFLIGHT,
        {"fetch": "input changed: words.txt"},
    ),
    "sampling: the engine in use": (
        f"{LIBRARY}/sampling/transformers_engine.py",
        ADD,
        once(SAMPLES) | {"sample": 4, "read_samples": 1, "score": 8, "score_light": 4},
        {"sample": "code of sampling.transformers_engine changed"},
    ),
    "sampling: an engine not in use": (f"{LIBRARY}/sampling/vllm_engine.py", ADD, {}, {}),
    "figures": (
        f"{LIBRARY}/report/figures/frontier.py",
        ADD,
        once({"figure_frontier", "first_page"}),
        {"figure_frontier": "code of report.figures.frontier changed"},
    ),
    "report": (
        f"{LIBRARY}/report/headline.py",
        ADD,
        once(WRITING),
        {"headline": "code of report.headline changed"},
    ),
    "a module that changes no value": (f"{LIBRARY}/jobs/job.py", ADD, {}, {}),
    "a comment in a module of all": (f"{LIBRARY}/tables/artifacts.py", "\n# a comment\n", {}, {}),
    "a script": (
        "workflow/scripts/headline.py",
        "\npass\n",
        once(WRITING),
        {"headline": "code of headline.py changed"},
    ),
    "a touched script": ("workflow/scripts/sample.py", "", {}, {}),
    "a comment in a script": ("workflow/scripts/sample.py", "\n# a comment\n", {}, {}),
    "a touched table": ("results/tiny/ensembles/standardised.parquet", "", {}, {}),
    "a touched shard of scores": ("results/tiny/scores/words/p00000-00004-b00000.parquet", "", {}, {}),
    "a touched list of words": ("words.txt", "", {}, {}),
}


@pytest.fixture
def project(finished):
    """The finished study; the study file and edited files are put back."""
    before = {}

    def edit(file, more):
        path = finished.folder / file
        before[path] = path.read_bytes()
        path.write_bytes(before[path] + more.encode())

    finished.edit = edit
    yield finished
    finished.study()
    for path, content in before.items():
        path.write_bytes(content)


def assert_planned(plan, jobs, why):
    assert plan.jobs == jobs, explain(plan)
    own = {rule: " ".join(reasons) for rule, reasons in plan.reasons.items()}
    assert own.keys() - {"study_card"} == why.keys() - {"study_card"}, explain(plan)
    assert not [rule for rule, reason in why.items() if reason not in own[rule]], explain(plan)


@pytest.mark.parametrize(("change", "jobs", "why"), SETTINGS.values(), ids=SETTINGS)
def test_a_change_of_the_study_file(project, change, jobs, why):
    project.study(change)
    assert_planned(project.plan(), jobs, why)


@pytest.mark.parametrize(("file", "more", "jobs", "why"), FILES.values(), ids=FILES)
def test_a_change_of_a_file(project, file, more, jobs, why):
    project.edit(file, more)
    assert_planned(project.plan(), jobs, why)


def test_a_package_that_matters_reruns_what_imports_it(project, tmp_path, monkeypatch):
    """Another release of a package: its metadata, in a folder that is looked at first."""
    release = tmp_path / "vaderSentiment-99.dist-info"
    release.mkdir(parents=True)
    (release / "METADATA").write_text("Metadata-Version: 2.1\nName: vaderSentiment\nVersion: 99\n")
    monkeypatch.setenv("PYTHONPATH", str(release.parent))
    assert_planned(
        project.plan(),
        once(REWARDS) | {"score_light": 4} | ONE_PREFLIGHT,
        dict.fromkeys(["score_light", "preflight_reward"], "version of vaderSentiment: 3.3.2 → 99"),
    )


def test_another_study_with_equal_samples_shares_them_and_their_scores(project):
    """Only its own name, limits and reward differ; more samples and prompts would share what there is."""
    rewards = {"vowels": VOWELS, "words": WORDS, "short": LETTERS | {"sign": -1}}
    project.study({"study": "second", "rewards": rewards, "ensembles": {}})
    plan = project.plan()
    assert not {"fetch", "convert", "prompts_chunk", "sample"} & set(plan.jobs), explain(plan)
    assert plan.jobs["score"] == 4, "the reward that only this study has"
    project.study({"study": "second", "sampling": {"samples_per_prompt": 24}, "prompts": {"count": 12}})
    plan = project.plan()
    assert plan.jobs["sample"] == 3 * 3 - 2 * 2
    project.study({"study": "second", "sampling": {"temperature": 0.9}})
    assert project.plan().jobs["sample"] == 4


def test_a_study_shows_its_own_shards_as_links(finished):
    samples = sorted((finished.folder / "results/tiny/samples/tiny").glob("*.parquet"))
    assert [f.name for f in samples] == [
        f"p{p}-b0000{b}.parquet" for p in ("00000-00004", "00004-00008") for b in (0, 1)
    ]
    assert {f.name for f in (finished.folder / "results/tiny/scores").glob("[!.]*")} == {"vowels", "letters", "words"}
    for file in [*samples, *(finished.folder / "results/tiny/scores").glob("*/*.parquet")]:
        assert file.is_symlink()
        assert file.resolve().is_relative_to(finished.folder / "results/shared")


def test_a_deleted_shard_is_made_again(project):
    shard = project.folder / "results/tiny/samples/tiny/p00004-00008-b00001.parquet"
    real, content = shard.resolve(), shard.read_bytes()
    try:
        real.unlink()
        plan = project.plan()
        assert plan.jobs["sample"] == 1, explain(plan)
        assert (plan.jobs["score"], plan.jobs["score_light"]) == (2, 1)
    finally:
        real.write_bytes(content)
