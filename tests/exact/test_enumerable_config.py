"""What the study file may ask of an enumerable study."""

from pathlib import Path

import pytest
import yaml

from alignment_limits.errors import ConfigError
from alignment_limits.study.load import load_study, over_default

CONFIG = Path(__file__).parents[2] / "config"
STUDY = yaml.safe_load((CONFIG / "studies/enumerable.yaml").read_text("utf-8"))


def load(**changes):
    default = yaml.safe_load((CONFIG / "config.yaml").read_text("utf-8"))
    study = {key: value for key, value in (STUDY | changes).items() if value is not None}
    return load_study(over_default(default, study))


def test_its_runs_are_policies_like_any_others():
    assert [p.name for p in load().all_policies][:2] == ["exact-whole-0.5-s0", "grpo-whole-1-s0"]


def test_the_population_holds_the_studys_prompts():
    with pytest.raises(ConfigError, match="population is 8, but the study's own 16 prompts are part of it"):
        load(enumerable={"population": 8})


@pytest.mark.parametrize("change", [{"enumerable": None}, {"sampling": STUDY["sampling"] | {"top_p": 0.9}}])
def test_exact_training_needs_all_replies_listed_and_whole_laws(change):
    training = {"exact": STUDY["training"]["exact"]}
    with pytest.raises(ConfigError, match=r"training.exact: exact is for studies whose replies are all listed"):
        load(training=training, **change)
