"""The study file as it is written: repeated keys, types, bounds, files that are not there, defaults that give way."""

import json
import time
from pathlib import Path

import pytest
import yaml

from alignment_limits.errors import ConfigError
from alignment_limits.study.load import load_study, over_default, read_study_file

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
OWN = """\
study: mine
model: {name: m, source: {path: model}}
prompts:
  source: {path: my_prompts.csv}
  stratify_by: null
sampling: {samples_per_prompt: 32}
rewards:
  brevity: {kind: length, sign: -1}
  mood: {kind: lexicon, lexicon: vader}
gold: mood
"""


@pytest.fixture
def here(tmp_path):
    """A folder with a model and seven prompts, as README's example has."""
    (tmp_path / "model").mkdir()
    (tmp_path / "my_prompts.csv").write_text("text\n" + "".join(f"prompt {i}\n" for i in range(7)))
    return tmp_path


def load(here, *texts):
    """The study of some files, the later over the earlier, as Snakemake mixes them."""
    files, given = [], {}
    for i, text in enumerate(texts):
        file = here / f"{'abc'[i]}.yaml"
        file.write_text(text)
        files.append(read_study_file(file))
        given = _mixed(given, files[-1].values)
    names = ", ".join(file.name for file in files)
    return load_study(over_default(DEFAULT, given), names, files=files, given=given, here=here)


def _mixed(a, b):
    both = {k: _mixed(a[k], b[k]) for k in a.keys() & b.keys() if isinstance(a[k], dict) and isinstance(b[k], dict)}
    return a | b | both


def refused(here, *texts):
    with pytest.raises(ConfigError) as error:
        load(here, *texts)
    return str(error.value)


def test_defaults_give_way_to_what_is_there(here):
    study = load(here, OWN)
    assert study.prompts.count == 7
    assert study.limits.best_of == [1, 2, 4, 8, 16, 32]
    assert load(here, OWN.replace("samples_per_prompt: 32", "samples_per_prompt: 40")).sampling.block == 20
    rows = "".join(f"prompt {i}\n" for i in range(100))
    (here / "my_prompts.csv").write_text("text\n" + rows)
    assert load(here, OWN).prompts.count == 64
    assert load(here, OWN.replace("stratify_by", "count: null\n  stratify_by")).prompts.count == 100


def test_what_the_user_wrote_is_refused_before_anything_is_fetched(here):
    said = refused(here, OWN.replace("stratify_by", "count: 10\n  stratify_by") + "limits: {best_of: [1, 64]}\n")
    assert "prompts.count: is 10, but the source has only 7 prompts; null takes all (line 4)" in said
    assert "limits.best_of asks for n=64, but there are only 32 samples per prompt" in said
    (here / "my_prompts.csv").write_text("question\nwhy\n")
    assert "prompts.source.path: my_prompts.csv has no column 'text', but: question" in refused(here, OWN)
    block = refused(here, OWN.replace("{samples_per_prompt: 32}", "{samples_per_prompt: 40, block: 32}"))
    assert "must be a multiple of block (32), for example 64" in block


def test_all_prompts_of_a_package_must_be_a_number(here):
    text = "study: mine\nprompts: {count: null}\n"
    assert "prompts.count: null (all prompts) is for a local `path:`" in refused(here, text)


def test_files_that_do_not_exist_are_listed_with_the_other_problems(here):
    text = OWN.replace("path: model", "path: nowhere") + (
        "policies: [{name: p, path: runs/p}, {name: q, adapter: runs/q}]\npreferences: {table: pairs.csv}\nseed: true\n"
    )
    text = text.replace("gold: mood", "  list: {kind: lexicon, lexicon: words, source: {path: words.txt}}\ngold: mood")
    said = refused(here, text)
    for line in (
        "model.source.path: nowhere does not exist (line 2)",
        "rewards.list.source.path: words.txt does not exist (line 10)",
        "policies.0.path: runs/p does not exist (line 12)",
        "policies.1.adapter: runs/q does not exist (line 12)",
        "preferences.table: the file pairs.csv does not exist (line 13)",
        "seed: Input should be a valid integer (given: True) (line 14)",
    ):
        assert line in said
    assert "6 problem(s)" in said
    scores = "study: s\nscores: {table: none.csv, gold: a}\n"
    assert "scores.table: the file none.csv does not exist (line 2)" in refused(here, scores)
    (here / "model/there").mkdir()
    member = OWN.replace("{path: model}", "{path: model, member: there}")
    assert load(here, member)
    assert "model.source.member: model contains no here" in refused(here, member.replace("there", "here"))


@pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", "limits:\n  kls: [1]\n  bootstrap: 300\n  kls: [2]\n"])
def test_a_key_that_occurs_twice_is_refused_with_both_lines(here, text):
    with pytest.raises(ConfigError, match=r"(seed: lines 1 and 2|limits.kls: lines 2 and 4); keep one of them"):
        load(here, text)


def test_merge_keys_are_no_repeats(here):
    text = OWN.replace("  mood: {", "  mood: &m {") + "x: &x {}\n"
    assert "x: unknown key" in refused(here, text)
    shared = OWN.replace("  mood: {kind: lexicon,", "  mood: &m {kind: lexicon,").replace(
        "gold:", "  other: {<<: *m, sign: -1}\ngold:"
    )
    assert load(here, shared).rewards["other"].sign == -1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: true", "seed: Input should be a valid integer (given: True)"),
        ("seed: 1.0", "seed: Input should be a valid integer (given: 1.0)"),
        ("limits: {betas: [true]}", "limits.betas.0: Input should be a valid number (given: True)"),
        ("limits: {betas: [1e3]}", "(given: '1e3'); YAML reads this as text: write 1000"),
        ("limits: {betas: [1e-5]}", "(given: '1e-5'); YAML reads this as text: write 1.0e-05"),
        ("limits: {bootstrap: 1e3}", "(given: '1e3'); YAML reads this as text: write 1000"),
        ("limits: {kls: [.nan]}", "limits.kls.0: Input should be a finite number"),
        ("limits: {kls: ['inf']}", "limits.kls.0: Input should be a valid number (given: 'inf')"),
        ("figures: {width_inches: 0x3}", ""),
        ("report: {show_samples: 1}", "report.show_samples: Input should be a valid boolean (given: 1)"),
        ("rewards: {a: {kind: length, sign: true}}\ngold: a", "rewards.a.sign: must be 1 or -1"),
        ("rewards: {a: {kind: length, note: 5}}\ngold: a", "(given: 5); put it in quotes"),
        ("study: 2026-01-01", "put it in quotes"),
        ("study: no", "study: Input should be a valid string (given: False); put it in quotes"),
    ],
)
def test_a_value_of_another_type_is_refused_and_what_to_write_is_said(here, text, message):
    if message:
        assert message in refused(here, text)
    else:
        assert load(here, text)


def test_what_is_said_to_be_written_is_read():
    assert yaml.safe_load("[1000, 1.0e-05, 1.5e+20]") == [1000, 1e-05, 1.5e20]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts: {count: 100000000}", "prompts.count: Input should be less than or equal to 10000000"),
        ("prompts: {count: 100000000000}", "prompts.count: Input should be less than or equal to 10000000"),
        ("prompts: {count: 5000000}", "new tokens, and at most 20,000 can be planned"),
        ("sampling: {samples_per_prompt: 100000000000}", "sampling.samples_per_prompt: Input should be less than"),
        ("sampling: {samples_per_prompt: 640000, shard_tokens: 1}", "at most 20,000 can be planned"),
        (f"limits: {{betas: {list(range(1, 100_001))}}}", "bytes; at most 200000 are read"),
        (f"limits: {{betas: {list(range(1, 2001))}}}", "limits.betas has 2000 values"),
        (f"limits: {{betas: {list(range(1, 901))}}}", "limits.betas: List should have at most 200 items"),
        ("learning: {seeds: 100000000000}", "learning.seeds: Input should be less than or equal to 100000"),
        (f"study: {'s' * 300}", "study: String should have at most 100 characters"),
        (f"rewards: {{{'r' * 300}: {{kind: length}}}}", "String should have at most 100 characters"),
        (f"model: {{name: x, source: {{path: {'p' * 300}}}}}", "longer than disks allow"),
        ("scores: {table: 'a{b}.csv', gold: g}", "scores.table: a path must not contain '{'"),
        ("scores: {table: 'a<b>.csv', gold: g}", "scores.table: a path must not contain '<'"),
        ('scores: {table: "a\\nb.csv", gold: g}', "scores.table: a path must not be empty nor contain control"),
        ("model: {name: x, source: {path: 'a{b}'}}", "model.source.path: a path must not contain '{'"),
        ("policies: [{name: p, adapter: 'a{b}'}]", "a path must not contain '{'"),
        ("preferences: {table: 'a{b}.csv'}", "preferences.table: a path must not contain '{'"),
    ],
)
def test_what_no_machine_could_do_is_refused_at_once(here, text, message):
    start = time.perf_counter()
    assert message in refused(here, text)
    assert time.perf_counter() - start < 2


def test_runs_of_a_recipe_are_counted_before_they_are_listed(here):
    recipe = {"objective": "ppo", "optimize": ["vader"], "coefficients": [1, 2], "steps": 1, "seeds": list(range(900))}
    text = "training: " + json.dumps({"t": recipe})
    assert "these lists give 1800 runs, each with one policy; at most 1000" in refused(here, text)


def test_problems_name_the_file_that_wrote_the_key(here):
    second = "scores: {table: t.csv, gold: a}\n"
    (here / "t.csv").write_text("prompt_id,sample_id,a\n")
    said = refused(here, OWN, second)
    assert "does not use model, prompts, sampling, rewards; leave them out" in said
    for place in ("b.yaml line 1", "a.yaml line 2", "a.yaml line 3", "a.yaml line 6", "a.yaml line 7"):
        assert place in said
    both = refused(here, OWN, "model: {source: {package: x==1}}\n")
    assert (
        "model.source: give exactly one of package, hub, path (given: package, path) (a.yaml line 2, b.yaml line 1)"
        in both
    )
    assert "sampling.temperature: Input should be greater than 0 (given: 0) (b.yaml line 1)" in refused(
        here,
        OWN.replace("samples_per_prompt: 32", "samples_per_prompt: 32, temperature: 2"),
        "sampling: {temperature: 0}",
    )


@pytest.mark.parametrize("section", ["ensembles", "gold_labels", "limits", "figures", "report", "policies", "scores"])
def test_a_section_that_may_be_absent_may_be_null(here, section):
    assert load(here, OWN + f"{section}: null\n").study == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n", "contains no keys"), ("a: [\n", "is not YAML"), ("a: &a [*a]\n", "a.0: refers to itself (line 1)")],
)
def test_a_file_that_is_no_study_is_refused(here, text, message):
    assert message in refused(here, text)


def test_a_study_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"study file '.*no\.yaml': No such file or directory"):
        read_study_file(tmp_path / "no.yaml")
