"""Models whose configuration is code of their own."""

import json

import pytest

from alignment_limits.errors import ModelError, SourceError
from alignment_limits.policies.assemble import check_width


def test_a_configuration_with_code_of_its_own_is_read_where_that_is_trusted(tiny_model, tmp_path):
    code = "from transformers import PretrainedConfig\n\nclass Own(PretrainedConfig):\n    model_type = 'own-kind'\n"
    (tmp_path / "configuration_own.py").write_text(code)
    config = {"model_type": "own-kind", "auto_map": {"AutoConfig": "configuration_own.Own"}, "vocab_size": 7}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="predicts 7 tokens, the base 259"):
        check_width(tmp_path, tiny_model, "mine", trust_remote_code=True)
    with pytest.raises(ModelError, match="contains custom code"):
        check_width(tmp_path, tiny_model, "mine")
