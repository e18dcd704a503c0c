"""Trained heads as rewards: the scores of the same head on a study's table of features."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_rewards import PROMPTS, TEXTS

from alignment_limits.errors import RewardError
from alignment_limits.rewards.embedding import load_encoder
from alignment_limits.rewards.heads import load_head


@pytest.mark.parametrize("text", ["reply", "prompt+reply"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_reply_is_scored_by_the_head_on_its_features(encoder_folder, tmp_path, text, sign):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=32), 0.7
    save_file({"weight": weight, "bias": np.array([bias])}, tmp_path / "head.safetensors")
    reward = load_head(encoder_folder, tmp_path / "head.safetensors", device="cpu", text=text, sign=sign)
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(len(TEXTS))]
    read = [p + t for p, t in zip(prompts, TEXTS, strict=True)] if text == "prompt+reply" else TEXTS
    # of texts that are read with their prompts the end is kept
    features, truncated = load_encoder(encoder_folder, "cpu", "left" if text == "prompt+reply" else "right")(read)
    expected = sign * (features.astype(np.float32).astype(np.float64) @ weight + bias)
    scores = reward.score(prompts, TEXTS)
    np.testing.assert_allclose(scores.score, expected, atol=1e-6)
    assert np.ptp(scores.score) > 0.1
    assert scores.truncated.tolist() == truncated.tolist()
    assert truncated.any()
    np.testing.assert_array_equal(reward.score(prompts[::-1], TEXTS[::-1]).score, scores.score[::-1])


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    save_file({"weight": np.zeros(2), "bias": np.zeros(1)}, tmp_path / "head.safetensors")
    with pytest.raises(RewardError):
        load_head(tmp_path, tmp_path / "head.safetensors", device="cpu", text="reply", sign=1)
