"""What the study file accepts, and how it says no."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from alignment_limits.commands.studies import schema_text
from alignment_limits.errors import ConfigError
from alignment_limits.importers.formats import FORMATS
from alignment_limits.study.estimates import Import
from alignment_limits.study.layout import Layout
from alignment_limits.study.load import load_study, over_default

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))


def changed(path: str, value: object) -> dict:
    """The default study with one key set."""
    study = json.loads(json.dumps(DEFAULT))
    *parents, key = path.split(".")
    here = study
    for part in parents:
        here = here[part]
    here[key] = value
    return study


# files that do not lie in the source they are looked up in
OUTSIDE = ("../x", "a/../../x", "/etc/passwd", "~/x", "..", "", "-x", "a\\..\\x", "a\0b", "a\nb")
KERAS = ("weights", "tokenizer")
SKLEARN = {"kind": "sklearn", "source": {"path": "s"}, "vectorizer": "v", "classifier": "c"}
ONNX = {"kind": "onnx", "source": {"path": "s"}, "label": 1}
FILES = {"weights": "w", "tokenizer": "t"}
STATIC = {"kind": "similarity", "source": {"path": "s"}, "beside": "prompt"}


@pytest.mark.parametrize("file", sorted((ROOT / "config/studies").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_shipped_study_is_valid(file):
    study = load_study(over_default(DEFAULT, yaml.safe_load(file.read_text("utf-8"))))
    assert study.study != "safety"


def test_the_default_study_is_valid_and_names_its_proxies():
    study = load_study(DEFAULT)
    assert study.gold not in study.proxies
    assert set(study.proxies) | {study.gold} == set(study.rewards)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sampling.temprature", 1, "sampling.temprature: unknown key; did you mean 'temperature'?"),
        ("promts", {}, "promts: unknown key; did you mean 'prompts'?"),
        ("rewards.vader.sing", 1, "rewards.vader.sing: unknown key; did you mean 'sign'?"),
        ("rewards.vader.kind", "lexcon", "did you mean 'lexicon'?"),
        ("sampling.temperature", 0, "sampling.temperature: Input should be greater than 0 (given: 0)"),
        ("sampling.top_p", 1.5, "sampling.top_p"),
        ("sampling.samples_per_prompt", 50, "must be a multiple of block (32), for example 64"),
        ("gold", "vadr", "gold names the reward 'vadr'; there are: tox-block"),
        ("ensembles.mean.members", ["vader", "nobody"], "names the reward 'nobody'"),
        ("ensembles.mean.members", ["vader", "vader"], "names a reward twice"),
        ("limits.best_of", [1, 128], "asks for n=128, but there are only 64 samples"),
        ("limits.betas", [1, 1], "values are repeated"),
        ("limits.betas", [0], "limits.betas.0: Input should be greater than 0"),
        ("limits.betas", [float("inf")], "limits.betas.0"),
        ("rewards.vader", {"kind": "rouge", "beside": "reference", "measure": "rouge-1"}, "has no `documents:`"),
        (
            "rewards.vader",
            {"kind": "trained", "features": {"path": "x"}, "labels": 50},
            "add its training labels as `gold_labels:`",
        ),
        ("rewards.vader", {"kind": "fine-tuned", "labels": 50}, "add its training labels as `gold_labels:`"),
        ("rewards.vader", {"kind": "fine-tuned", "labels": 50, "parts": 3}, "must be a multiple of parts (3)"),
        ("rewards.vader", {"kind": "fine-tuned", "labels": 50, "text": "chat", "wording": "{reply}"}, "wording is for"),
        ("rewards.vader", {"kind": "sum", "terms": {"tox-block": 1, "nobody": 1}}, "names the reward 'nobody'"),
        ("rewards.vader", {"kind": "sum", "terms": {"tox-block": 1, "vader": 1}}, "cannot contain vader, which is a"),
        ("rewards.vader", {"kind": "sum", "terms": {"tox-block": 1}}, "at least 2 items"),
        ("gold_labels", {"prompts": 8, "samples_per_prompt": 40}, "must be a multiple of sampling.block (32)"),
        ("documents", {"text": "a", "references": ["b"], "instruction": "Sum up"}, "must contain {document} once"),
        ("rewards.vader", {"kind": "guard", "source": {"path": "x"}, "wording": "Bad?"}, "must contain {reply}"),
        ("model.source", {"package": "x"}, "must be pinned as 'name==version'"),
        ("model.source", {"package": "x==1"}, "needs the sha256 of its wheel"),
        ("model.source", {"hub": "a/b@main"}, "owner/name@<40-digit commit>"),
        ("model.source", {"hub": "a/b@" + "0" * 40, "path": "x"}, "exactly one of package, hub, path"),
        ("model.source", {"package": "--log==x", "sha256": "0" * 64}, "must be pinned as 'name==version'"),
        ("model.source", {"package": "x==-1", "sha256": "0" * 64}, "must be pinned as 'name==version'"),
        ("model.source", {"package": "x==1\n", "sha256": "0" * 64}, "must be pinned as 'name==version'"),
        ("model.source", {"hub": "-a/b@" + "0" * 40}, "owner/name@<40-digit commit>"),
        ("model.source", {"hub": "a/..@" + "0" * 40}, "owner/name@<40-digit commit>"),
        ("model.source", {"hub": "é/b@" + "0" * 40}, "owner/name@<40-digit commit>"),
        ("model.source", {"path": "--x"}, "path must not begin with '-'"),
        ("model.source", {"path": "a\nb"}, "nor contain control characters"),
        *(("model.source", {"path": "a", "member": m}, "model.source.member: must ") for m in OUTSIDE),
        *((f"rewards.tox-block.{key}", m, f"rewards.tox-block.{key}: must ") for m in OUTSIDE for key in KERAS),
        *(("rewards.vader", SKLEARN | {"classifier": m}, "rewards.vader.classifier: must ") for m in OUTSIDE),
        *(("rewards.vader", ONNX | {"model": m}, "rewards.vader.model: must ") for m in OUTSIDE),
        *(("rewards.vader", STATIC | {"static": FILES | {"weights": m}}, "static.weights: must ") for m in OUTSIDE),
        ("study", "models", "folder shared by all studies"),
        ("study", "../elsewhere", "study: String should match pattern"),
        ("rewards.vader.lexicon", "words", "needs a source"),
        ("policies", [{"name": "p"}], "exactly one of package, hub, path"),
        ("policies", [{"name": "p", "path": "a", "adapter": "b"}], "leave out path"),
        ("policies", [{"name": "p", "path": "a", "revision": "0" * 40}], "paths and packages have none"),
        ("policies", [{"name": "p", "hub": "a/b@" + "1" * 40, "revision": "0" * 40}], "give only one of them"),
        ("policies", [{"name": "p", "hub": "a/b", "revision": "main"}], "owner/name@<40-digit commit>"),
        ("policies", [{"name": "p", "path": "a"}, {"name": "p", "path": "b"}], "a name occurs twice"),
        ("policies", [{"name": "p", "path": "a", "optimized": "nobody"}], "names the reward 'nobody'"),
        ("policies", [], "policies: List should have at least 1 item"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(path, value, message):
    with pytest.raises(ConfigError) as error:
        load_study(changed(path, value))
    assert message in str(error.value)


def test_a_sums_scores_depend_on_its_terms_settings_and_on_no_others():
    def id_of(**change):
        study = changed("rewards.both", {"kind": "sum", "terms": {"vader": 1, "tox-block": 2}})
        for name, settings in change.items():
            study["rewards"][name.replace("_", "-")] |= settings
        return load_study(study).scorer_id("both")

    assert id_of() == id_of(vader={"note": "another"})
    assert len({id_of(), id_of(vader={"sign": -1}), id_of(both={"terms": {"vader": 1, "tox-block": 3}})}) == 3


def test_all_problems_are_told_at_once():
    study = changed("sampling.temprature", 1)
    study["prompts"]["cuont"] = 3
    with pytest.raises(ConfigError, match=r"2 problem\(s\)"):
        load_study(study)


def test_a_study_keeps_the_defaults_it_does_not_name():
    merged = over_default(DEFAULT, {"study": "mine", "sampling": {"max_new_tokens": 5}})
    assert merged["sampling"]["max_new_tokens"] == 5
    assert merged["sampling"]["samples_per_prompt"] == DEFAULT["sampling"]["samples_per_prompt"]


def test_rewards_and_sources_of_a_study_replace_the_defaults_whole():
    mine = {
        "study": "mine",
        "gold": "mood",
        "rewards": {"mood": {"kind": "lexicon", "lexicon": "vader"}},
        "model": {"source": {"path": "a/model"}},
    }
    study = load_study(over_default(DEFAULT, mine))
    assert list(study.rewards) == ["mood"]
    assert not study.ensembles, "the default's ensembles are made of rewards this study does not have"
    assert study.model.source.package is None


def test_a_policys_source_is_a_folder_a_hub_commit_or_an_adapter():
    commit = "0" * 40
    given = [
        {"name": "folder", "path": "runs/a"},
        {"name": "hub", "hub": "a/b", "revision": commit},
        {"name": "pinned", "hub": f"a/b@{commit}"},
        {"name": "adapter", "adapter": "runs/b"},
        {"name": "hub-adapter", "adapter": "a/b", "revision": commit, "optimized": "mean", "coefficient": 0.1},
    ]
    study = load_study(changed("policies", given))
    found = [(p.source.path, p.source.hub, p.adapter) for p in study.policies]
    hub = f"a/b@{commit}"
    assert found == [
        ("runs/a", None, None), (None, hub, None), (None, hub, None), ("runs/b", None, "runs/b"), (None, hub, "a/b"),
    ]  # fmt: skip
    ids = [study.policy_id(p) for p in study.policies]
    relabelled = load_study(changed("policies", [given[0] | {"objective": "dpo"}]) | {"gold": "vader"})
    assert relabelled.policy_id(relabelled.policies[0]) == ids[0], "labels decide no weights"
    other = load_study(changed("model.source", {"path": "x"}) | {"policies": given})
    assert not {other.policy_id(p) for p in other.policies} & set(ids), "an adapter's base does"


def test_a_study_of_scores_has_no_policies():
    scores = {"table": "t.csv", "gold": "a", "proxies": ["b"]}
    with pytest.raises(ConfigError, match="does not use policies"):
        load_study({"study": "s", "gold": "a", "scores": scores, "policies": [{"name": "p", "path": "x"}]})


def test_the_json_schema_is_up_to_date():
    assert (ROOT / "config/schema.json").read_text("utf-8") == schema_text(), "run `make schema`"


def test_every_key_of_the_default_study_is_commented_or_obvious():
    """The default file is the manual: every section's keys appear in it, so that none is undiscoverable."""
    text = (ROOT / "config/config.yaml").read_text("utf-8")
    study = load_study(DEFAULT)
    for section in (study, study.model, study.prompts, study.sampling, study.limits, study.figures, study.report):
        for key in type(section).model_fields:
            assert f"{key}:" in text, f"config.yaml does not mention {key}"


SAMPLES = {"study": "mine", "gold": "a", "samples": {"table": "t.csv"}, "rewards": {"a": {"kind": "length"}}}
PROGRAM = {"kind": "column", "column": "judge"}
POLICY = {"policies": [{"name": "p", "path": "p"}]}
BASE = {"model": {"name": "m", "source": {"path": "m"}}, "sampling": {}}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"samples": {}}, "samples: give either `table` or `import`"),
        ({"samples": {"table": "t.csv", "part": 2}}, "samples.part: unknown key; did you mean 'parts'?"),
        ({"samples": {"table": "t.csv", "system": "Hi"}}, "system is for template: chat"),
        ({"rewards": {}}, "a study that starts from samples needs rewards"),
        (BASE, "a study of samples without policies does not use model, sampling; leave them out"),
        (POLICY, "policies need model and sampling: the model that drew the samples"),
        (POLICY | BASE | {"rewards": {"a": PROGRAM}}, "rewards.a is a column of the table, so it cannot score"),
        ({"tempered": {}}, "a study that starts from samples does not use tempered; leave them out"),
        ({"samples": None, "scores": {"table": "t.csv", "gold": "a"}}, "does not use rewards; leave them out"),
        (
            {"rewards": {"a": {"kind": "information-gain", "beside": "prompt"}}},
            "rewards.a reads the base model; name its `source`",
        ),
    ],
)
def test_a_study_of_samples_says_what_it_needs(more, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_study(SAMPLES | more)


def test_columns_are_rewards_of_a_table_of_samples_only():
    with pytest.raises(ConfigError, match="but the study has no `samples:`"):
        load_study(DEFAULT | {"rewards": {"tox-block": PROGRAM}, "ensembles": {}})
    assert load_study(SAMPLES | {"rewards": {"a": PROGRAM}}).reward_names == ["a"]
    assert load_study(SAMPLES | POLICY | BASE).all_policies[0].name == "p"


def test_every_key_of_a_study_of_learning_is_in_the_toy():
    text = (ROOT / "config/studies/toy.yaml").read_text("utf-8")
    learning = load_study({"study": "mine", "learning": {}}).learning
    for section in (learning, learning.world):
        for key in type(section).model_fields:
            assert f"{key}:" in text, f"toy.yaml does not mention {key}"


@pytest.mark.parametrize(
    ("learning", "message"),
    [
        ({"sedes": 3}, "learning.sedes: unknown key; did you mean 'seeds'?"),
        ({"settings": {"label-noise": [0.7]}}, "settings.label-noise must be from 0 to 0.5, not 0.7"),
        ({"settings": {"label-noise": []}}, "settings.label-noise needs 1 to 100 levels without duplicates"),
        ({"settings": {"reward-dimension": [2]}}, "rewards with a dimension need world.target_dimension"),
        ({"estimate_gamma": [2]}, "rewards with a dimension need world.target_dimension"),
        ({"fixed_betas": [0.3]}, "fixed_betas must be among betas; 0.3 is not"),
        ({"n": [4, 4]}, "values are repeated"),
        ({"objectives": ["ppo"]}, "learning.objectives.0: Input should be"),
    ],
)
def test_a_wrong_study_of_learning_is_refused_with_its_path(learning, message):
    with pytest.raises(ConfigError) as error:
        load_study({"study": "mine", "learning": learning})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        ({"reward": "vadr"}, "preferences.reward names the reward 'vadr'"),
        ({"settings": {"gamma-error": [2]}}, "preferences.settings.gamma-error"),
        ({"settings": {"label-noise": [0.9]}}, "settings.label-noise must be from 0 to 0.5, not 0.9"),
        ({"gamma": 0}, "preferences.gamma: Input should be greater than 0"),
    ],
)
def test_wrong_preferences_are_refused(preferences, message):
    with pytest.raises(ConfigError) as error:
        load_study(DEFAULT | {"preferences": preferences})
    assert message in str(error.value)


def test_preferences_of_a_target_need_log_probabilities():
    scores = {"study": "mine", "scores": {"table": "x.csv", "gold": "g"}}
    assert load_study(scores | {"preferences": {"reward": "g"}}).preferences.reward == "g"
    with pytest.raises(ConfigError, match="a table of scores has no log-probabilities"):
        load_study(scores | {"preferences": {}})


def test_a_study_of_learning_takes_no_model_and_no_scores():
    with pytest.raises(ConfigError, match="a study of learning does not use scores; leave them out"):
        load_study({"study": "mine", "learning": {}, "scores": {"table": "x.csv", "gold": "g"}})
    merged = over_default(DEFAULT, {"study": "mine", "learning": {}})
    assert load_study(merged).model is None


def test_a_date_names_samples_only_where_a_template_may_print_it():
    """And a context, which only refuses, names none."""
    import datetime

    def base_id(prompts=None, model=None):
        given = over_default(DEFAULT, {"prompts": prompts or {}, "model": model or {}})
        return load_study(given, "it").base_id

    plain, chat = base_id(), base_id({"template": "chat"})
    assert base_id({"date": datetime.date(2031, 2, 3)}) == plain
    assert base_id({"template": "chat", "date": datetime.date(2031, 2, 3)}) != chat
    assert base_id({"template": "chat", "date": "2024-07-26"}) == chat
    assert base_id(model={"context": 512}) == plain
    with pytest.raises(ConfigError, match="date is a day such as 2024-07-26, not 'today'"):
        base_id({"date": "today"})


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        ({}, "give one or more of temperature, top_p, system, adapter"),
        ({"top_p": 1.0}, "proposals.a.top_p: Input should be less than 1"),
        ({"temperature": 1.3, "scale": 0.5}, "revision and scale are of an adapter"),
        ({"system": "Be kind."}, "proposals.a.system needs prompts.template: chat"),
        ({"temperature": 1.0}, "proposals.a.temperature is the base's own"),
    ],
)
def test_proposals_that_are_no_law_of_their_own_are_refused(proposal, message):
    with pytest.raises(ConfigError) as refused:
        load_study(DEFAULT | {"proposals": {"a": proposal}})
    assert message in str(refused.value)


def test_a_nucleus_of_its_own_is_within_the_bases():
    given = changed("sampling.top_p", 0.9)
    with pytest.raises(ConfigError, match=r"proposals.a.top_p must be below the base's \(0.9\), or its KL is infinite"):
        load_study(given | {"proposals": {"a": {"top_p": 0.9}}})
    layout = Layout(load_study(given | {"proposals": {"a": {"top_p": 0.8}, "b": {"top_p": 0.5, "temperature": 0.7}}}))
    a, b = layout.policies
    assert (layout.law(a), layout.law(b)["temperature"]) == ({"temperature": 1.0, "top_p": 0.8}, 0.7)
    assert layout.policies[a].labels["objective"] == "base at top-p 0.8"
    assert layout.policies[b].labels["objective"] == "base at temperature 0.7 and top-p 0.5"


def test_a_system_message_of_a_proposal_needs_prompts_of_its_own():
    chat = changed("prompts.template", "chat") | {
        "proposals": {"kind": {"system": "Be kind."}, "warm": {"temperature": 2}}
    }
    layout = Layout(load_study(chat))
    kind, warm = layout.policies
    assert layout.policy_prompts(kind, "p") == layout.shared(f"policies/{kind}/prompts/p.parquet")
    assert layout.policy_prompts(warm, "p") == layout.shared("prompts/p.parquet")
    assert layout.law(warm)["temperature"] == 2
    assert layout.law(kind) == layout.law()
    assert layout.policy_folder(warm) == layout.model


@pytest.mark.parametrize(
    ("pool", "policies", "pooled"),
    [("auto", 0, ""), ("auto", 5, "all"), ("auto", 6, "own"), ("all", 6, "all"), ("own", 1, "all"), ("own", 2, "own")],
)
def test_all_samples_form_one_pool_where_that_is_affordable(pool, policies, pooled):
    listed = [{"name": f"p{i}", "path": "p", "optimized": "mean"} for i in range(policies)] or None
    study = load_study(changed("limits.pool", pool) | {"policies": listed})
    assert study.pools == pooled
    assert study.pooled == [DEFAULT["gold"], *(["mean"] if policies else [])]


def test_a_policy_may_not_have_the_bases_name():
    with pytest.raises(ConfigError, match="'base' is the base model in tables of pooled samples"):
        load_study(DEFAULT | {"policies": [{"name": "base", "path": "p"}]})


IMPORT = {"study": "mine", "scores": {"import": {"files": ["a.jsonl"]}, "gold": "human"}}


def imported(**changes):
    return {**IMPORT, "scores": IMPORT["scores"] | changes}


def test_a_study_can_import_its_scores():
    study = load_study(IMPORT)
    assert study.scores.imported.format is None
    again = load_study(study.model_dump(exclude_none=True, include={"study", "scores"}))
    assert again.scores == study.scores, "it is written as it is read"


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (imported(table="t.parquet"), "scores: give either `table` or `import`"),
        ({"study": "mine", "scores": {"gold": "human"}}, "scores: give either `table` or `import`"),
        (imported(**{"import": {"files": []}}), "scores.import.files"),
        (imported(**{"import": {"file": ["a"]}}), "scores.import.file: unknown key; did you mean 'files'?"),
        (imported(**{"imports": {}}), "scores.imports: unknown key; did you mean 'import'?"),
        (
            imported(**{"import": {"files": ["a"], "format": "trll"}}),
            "scores.import.format: Input should be 'inspect', ",
        ),
        (imported(**{"import": {"files": ["a"], "keep": ["step 1"]}}), "'step 1' is not FIELD=VALUE, such as step=1"),
        (imported(pool={"column": "law", "log_ratios": {"p": "q"}}), "imported samples have no log-ratios"),
    ],
)
def test_a_wrong_import_is_named(study, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_study(study)


def test_files_to_import_must_exist(tmp_path):
    with pytest.raises(ConfigError, match=re.escape("scores.import.files.0: a.jsonl does not exist")):
        load_study(IMPORT, here=tmp_path)


def test_a_study_knows_every_format():
    known = Import.model_fields["format"].annotation
    assert set(FORMATS) == {name for part in get_args(known) for name in get_args(part)}
