"""What is left of a text that is too long for a model, which tokens steer one, how many it reads at once."""

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from alignment_limits.models.load import TOKENS_CPU, TOKENS_GPU, token_budget
from alignment_limits.models.tokenizer import control_tokens
from alignment_limits.rewards.checkpoints import drop_tokens


@pytest.fixture(scope="module")
def pieces():
    """A token for each word and for each space."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")


@pytest.mark.parametrize(
    ("count", "left"), [(1, " was long"), (2, "was long"), (3, " long"), (5, ""), (9, ""), (0, " was long")]
)
def test_a_text_loses_its_first_tokens_and_one_character_at_least(pieces, count, left):
    assert drop_tokens(pieces, "I was long", count) == left


TURN = "{% for m in messages %}{{ '<|turn|>' + m.content + '<|end|>' }}{% endfor %}{% if tools %}<|tool|>{% endif %}"
REFUSES = "{{ raise_exception('two turns') }}<|tool|>"


@pytest.mark.parametrize(("template", "found"), [(TURN, ["<|end|>", "<|turn|>"]), (None, []), (REFUSES, ["<|tool|>"])])
def test_tokens_that_the_template_writes_round_a_turn_steer_the_model(template, found):
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.add_tokens(["<|turn|>", "<|end|>", "<|tool|>", "plain"])
    assert control_tokens(PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template)) == found


def test_a_gpu_reads_more_tokens_at_once():
    assert token_budget("cpu") == token_budget("cpu:0") == TOKENS_CPU
    assert token_budget("cuda:1") == TOKENS_GPU > TOKENS_CPU
