"""Names as people have them: what is accepted, and which files they stand for."""

import pytest

from alignment_limits.errors import ConfigError
from alignment_limits.study.base import by_file_name, file_name
from alignment_limits.study.load import load_study

THEIRS = [
    "Skywork-Reward-V2-Llama-3.1-8B",
    "nvidia/Llama 3.1 RM",
    "rewards/accuracy",
    "奖励",
    "a+b (c)",
    "Gold",
    "gold",
]


def test_plain_names_are_their_own_files():
    for name in ("tox-block", "smollm2-135m-instruct", "a.b_c", "short-minilm-prototypes-0.5-s0"):
        assert file_name(name) == name


def test_no_two_names_share_a_file_on_any_disk():
    names = [
        *THEIRS,
        "GOLD",
        "go/ld",
        "go ld",
        "go-ld",
        "é",
        "e\u0301",
        "..",
        ".",
        "a/b",
        "a-b",
        "con.",
        "x" * 99,
        "x" * 100,
    ]
    files = [file_name(name) for name in names]
    assert len({file.lower() for file in files}) == len(names)
    for file in files:
        assert file.isascii()
        assert file == file.lower()
        assert not set(file) & set("/\\ :*?\"<>|'")
        assert not file.startswith(".")
        assert not file.endswith(".")
        assert len(file) <= 80


@pytest.mark.parametrize("name", ["summary.parquet", "policies.parquet", "rewards.json", "model.part"])
def test_no_name_is_that_of_a_file_of_the_workflow(name):
    assert file_name(name) != name
    assert "." not in file_name(name)


def test_a_name_that_is_anothers_file_is_refused():
    assert by_file_name(["Gold", "gold"]) == {file_name("Gold"): "Gold", "gold": "gold"}
    with pytest.raises(ValueError, match=r"'Gold' and 'gold-6249df43' would share files named gold-6249df43"):
        by_file_name(["Gold", "gold-6249df43"])


def test_a_table_s_own_column_names_are_taken_as_they_are():
    scores = {"table": "t.csv", "gold": "Gold", "proxies": THEIRS[:5]}
    study = load_study(
        {"study": "s", "scores": scores, "ensembles": {"Mean (all)": {"members": THEIRS[:2], "aggregator": "mean"}}}
    )
    assert study.reward_names == ["Gold", *THEIRS[:5]]
    assert list(study.ensembles) == ["Mean (all)"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a{b}", "a name must not contain '{'"),
        ("a<b>", "a name must not contain '<'"),
        ("a$b", "a name must not contain '$'"),
        ("*", "a name must not contain '*'"),
        ("^a", "a name must not contain '^'"),
        ("_a", "must not begin with '_'"),
        (" a", "nor begin or end with a space"),
        ("a\nb", "must not contain control characters"),
        ("", "at least 1 character"),
        ("sample_id", "name of a key of every table"),
        ("x" * 101, "at most 100 characters"),
    ],
)
def test_a_name_that_figures_or_patterns_would_misread_is_refused(name, message):
    with pytest.raises(ConfigError, match=r"scores\.gold: ") as error:
        load_study({"study": "s", "scores": {"table": "t.csv", "gold": name, "proxies": ["b"]}})
    assert message in str(error.value)


def test_recipes_whose_curves_would_share_a_file_are_refused():
    from test_own_files import DEFAULT

    recipe = {"objective": "ppo", "coefficients": [1], "steps": 1}
    study = DEFAULT | {
        "rewards": DEFAULT["rewards"] | {"b-vader": DEFAULT["rewards"]["vader"]},
        "training": {"a": recipe | {"optimize": ["b-vader"]}, "a-b": recipe | {"optimize": ["vader"]}},
    }
    with pytest.raises(ConfigError, match="two recipes would share the curves|a name occurs twice"):
        load_study(study)
