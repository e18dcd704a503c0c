"""What is left of a text that is too long for a model."""

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from alignment_limits.rewards.conversation import drop_tokens


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
