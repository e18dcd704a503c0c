"""Embedding rewards against a single unpadded forward pass of the encoder."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_rewards import TEXTS
from transformers import AutoModel, AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.models.load import batches
from alignment_limits.rewards.load import load_reward

TOWARD, AWAY = ["Thank you.", "It is kind of you."], ["No.", "It rains."]


def _spec(**changes) -> dict:
    return {"kind": "embedding", "toward": TOWARD, "away": AWAY, "text": "reply", "sign": 1} | changes


def _embed(folder, text: str, limit: int = 24, end: bool = False) -> np.ndarray:
    """Unit mean of the last hidden states of one text, nothing padded."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inner = tokenizer(text, add_special_tokens=False)["input_ids"]
    inner = inner[-(limit - 2) :] if end else inner[: limit - 2]
    ids = torch.tensor([[tokenizer.cls_token_id, *inner, tokenizer.sep_token_id]])
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder)(ids).last_hidden_state[0].double().numpy()
    return hidden.mean(0) / np.linalg.norm(hidden.mean(0))


def test_score_is_highest_cosine_to_toward_minus_highest_to_away(encoder_folder):
    scores = load_reward(_spec(), encoder_folder).score([""] * len(TEXTS), TEXTS)
    good, bad = ([_embed(encoder_folder, t) for t in ts] for ts in (TOWARD, AWAY))
    own = [_embed(encoder_folder, t) for t in TEXTS]
    expected = [max(e @ g for g in good) - max(e @ b for b in bad) for e in own]
    np.testing.assert_allclose(scores.score, expected, atol=1e-5)
    assert np.ptp(scores.score) > 0.05
    assert scores.truncated.tolist() == [len(t) > 100 for t in TEXTS]


def test_without_away_it_is_the_cosine_and_the_prototype_itself_scores_one(encoder_folder):
    score = load_reward(_spec(away=[]), encoder_folder).score([""], [TOWARD[1]]).score
    assert score[0] == pytest.approx(1, abs=1e-6)


def test_prompt_and_reply_keep_their_end(encoder_folder):
    reward = load_reward(_spec(text="prompt+reply", away=[]), encoder_folder)
    scores = reward.score(["It rains. " * 20], ["Thank you."])
    good = [_embed(encoder_folder, t) for t in TOWARD]
    expected = max(_embed(encoder_folder, "It rains. " * 20 + "Thank you.", end=True) @ g for g in good)
    assert scores.score[0] == pytest.approx(expected, abs=1e-5)
    assert scores.truncated[0]


def test_scores_do_not_depend_on_batch_or_order(encoder_folder, monkeypatch):
    reward = load_reward(_spec(), encoder_folder)
    together = reward.score([""] * len(TEXTS), TEXTS).score
    backwards = reward.score([""] * len(TEXTS), TEXTS[::-1]).score[::-1]
    alone = [reward.score([""], [t]).score[0] for t in TEXTS]
    monkeypatch.setattr("alignment_limits.models.load.TOKENS_CPU", 40)  # several small batches
    small = reward.score([""] * len(TEXTS), TEXTS).score
    for other in (backwards, alone, small):
        np.testing.assert_allclose(other, together, atol=1e-5)


def test_equal_texts_get_equal_scores_to_the_last_bit(encoder_folder):
    score = load_reward(_spec(), encoder_folder).score([""] * len(TEXTS), TEXTS).score
    assert score[1] == score[6]


def test_other_pooling_and_missing_files_are_refused(encoder_folder, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(encoder_folder, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": False}))
    with pytest.raises(RewardError, match="another pooling than the mean"):
        load_reward(_spec(), folder)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 8}))
    load_reward(_spec(), folder)  # the mean is what sentence-transformers does if nothing is said
    (folder / "model.safetensors").unlink()
    with pytest.raises(RewardError, match=r"model.safetensors is missing .*the folder contains: 1_Pooling/config.json"):
        load_reward(_spec(), folder)


def test_batches_hold_every_text_once_within_the_budget():
    lengths = np.random.default_rng(0).geometric(0.03, size=500).tolist()
    lengths[7] = 1000  # longer than the budget: alone
    groups = list(batches(lengths, 256))
    assert sorted(np.concatenate(groups)) == list(range(500))
    assert next(g.tolist() for g in groups if len(g) == 1) == [7]
    assert all(max(lengths[i] for i in g) * len(g) <= 256 for g in groups[1:] if len(g) > 1)
    padded = sum(max(lengths[i] for i in g) * len(g) for g in groups)
    assert padded < 1.1 * sum(lengths)


def test_an_empty_text_has_an_embedding_where_no_special_tokens_are_added(make_causal):
    from alignment_limits.rewards.embedding import load_encoder

    vectors, truncated = load_encoder(make_causal("gpt_neox"), "cpu")(["", "No."])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert not truncated.any()
