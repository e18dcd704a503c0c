"""Every study of config/studies, whichever there are, reduced to seconds."""

import pytest
import yaml
from reduced import DEFAULT, ROOT, reduced

from alignment_limits.config.load import load_study, over_default
from alignment_limits.config.stages import stages

STUDIES = {file.stem: file.read_text("utf-8") for file in sorted((ROOT / "config/studies").glob("*.yaml"))}
# made as they are, by test_small_study.py and .ci/run, and by test_enumerable_study.py
WHOLE = {"small", "enumerable"}
RUN = [name for name, text in STUDIES.items() if "NOT RUN HERE" not in text and name not in WHOLE]


@pytest.mark.parametrize("name", RUN)
def test_a_reduced_study_has_the_stages_of_the_whole_one(name):
    study = yaml.safe_load(STUDIES[name])
    both = [load_study(over_default(DEFAULT, s)) for s in (study, reduced(study))]
    assert stages(both[1]) == stages(both[0])
