"""Prompts that are conversations, as rewards read them through their own chat templates."""

import json

import numpy as np
import pytest
from tiny_rewards import ASKS, CHATML, CLASSIFIER, GUARD, one_score
from transformers import AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import Prompt
from alignment_limits.rewards.checkpoints import encoder
from alignment_limits.rewards.load import load_reward, read_beside, with_rows
from alignment_limits.rewards.preflight import PROBES, load_and_preflight
from alignment_limits.tables.conversations import as_text
from alignment_limits.tables.prompts import read_prompts

TURNS = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Why?"))
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


def _messages(turns, reply=None):
    turns = turns if reply is None else (*turns, ("assistant", reply))
    return [{"role": role, "content": content} for role, content in turns]


def _asked(tmp_path, *conversations):
    """The prompts of a file, as rewards read them."""
    rows = [json.dumps({"prompt_id": f"p{i}", "messages": _messages(t)}) + "\n" for i, t in enumerate(conversations)]
    (tmp_path / "prompts.jsonl").write_text("".join(rows), "utf-8")
    table = read_prompts(tmp_path / "prompts.jsonl")
    return table.with_columns(prompt="text")


class TestConversations:
    """A reward's template is given a conversation's own turns, and the reply as the next one."""

    @pytest.mark.parametrize("kind", ["llama", "qwen2"])
    def test_the_text_is_that_of_the_template(self, make_classifier, tmp_path, kind):
        folder = make_classifier(kind)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        encode = encoder(tokenizer, "chat", None, folder)
        asked = read_beside(CLASSIFIER, _asked(tmp_path, TURNS, TURNS[1:], TURNS[1:2]))
        for prompt, turns in zip(asked.values(), (TURNS, TURNS[1:], TURNS[1:2]), strict=True):
            text = tokenizer.apply_chat_template(_messages(turns, "So it is."), tokenize=False)
            ids, cut = encode(prompt, "So it is.")
            assert (tokenizer.decode(ids), cut) == (text, False)
            assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert encode(asked["p2"], "No.") == encode("Hi", "No."), "a single turn is a text as ever"

    @pytest.mark.parametrize("spec", [CLASSIFIER, GUARD], ids=lambda spec: spec["kind"])
    def test_scores_are_those_of_the_template(self, make_classifier, make_causal, tmp_path, spec):
        """Also where another prompt is, as one text, the same."""
        make = make_causal if spec["kind"] == "guard" else make_classifier
        folder = make("qwen2", template=CHATML + ASKS)
        joined = as_text(_messages(TURNS))
        prompts = read_beside(spec, _asked(tmp_path, TURNS, (("user", joined),)))
        assert prompts["p0"] == prompts["p1"]
        scores = load_reward(spec, folder).score([prompts["p0"], prompts["p1"], joined], ["So."] * 3).score
        tokenizer = AutoTokenizer.from_pretrained(folder)
        asks = {"tokenize": False, "add_generation_prompt": spec["kind"] == "guard"}
        conversations = (_messages(TURNS, "So."), _messages((("user", joined),), "So."))
        turned, plain = (tokenizer.apply_chat_template(c, **asks) for c in conversations)
        expected = [one_score(folder, spec["kind"], string) for string in (turned, plain, plain)]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert abs(expected[0] - expected[1]) > 0.01

    def test_rewards_that_read_one_text_read_each_message_behind_its_role(self, make_classifier, tmp_path):
        folder = make_classifier("qwen2")
        spec = CLASSIFIER | {"text": "prompt+reply"}
        prompt = read_beside(spec, _asked(tmp_path, TURNS))["p0"]
        text = "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: Why?So."
        score = load_reward(spec, folder).score([prompt], ["So."]).score
        np.testing.assert_allclose(score, [one_score(folder, spec["kind"], text)], atol=1e-4)

    def test_what_does_not_fit_loses_exchanges_then_the_system_message_then_the_last_turn(self, make_classifier):
        folder = make_classifier("qwen2")
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def read(limit):
            ids, cut = encoder(tokenizer, "chat", limit, folder)(Prompt("", {}, TURNS), "So.")
            assert len(ids) <= limit
            return cut, tokenizer.decode(ids)

        def length(*turns):
            text = tokenizer.apply_chat_template(_messages(turns, "So."), tokenize=False)
            return len(tokenizer(text, add_special_tokens=False)["input_ids"]), text

        whole, text = length(*TURNS)
        assert read(whole) == (False, text)
        less, text = length(TURNS[0], TURNS[3])
        assert read(whole - 1) == read(less) == (True, text)
        bare, text = length(TURNS[3])
        assert read(less - 1)[1] == f"<|im_start|>system\ne brief.<|im_end|>\n{text}"
        assert read(bare) == (True, text)
        assert read(bare - 1)[1] == text.replace("Why?", "hy?")

    @pytest.mark.parametrize("spec", [CLASSIFIER, GUARD], ids=lambda spec: spec["kind"])
    def test_a_template_without_a_system_role_is_refused_before_a_study_starts(
        self, make_classifier, make_causal, tmp_path, spec
    ):
        """Though the prompts in front are without one."""
        make = make_causal if spec["kind"] == "guard" else make_classifier
        folder = make("qwen2", template=NO_SYSTEM + CHATML + ASKS)
        table = _asked(tmp_path, *[TURNS[1:]] * 20, TURNS)
        prompts = list(read_beside(spec, table).values())
        with pytest.raises(RewardError, match=r"reward 'mine': .*takes no system message \(System role not") as error:
            load_and_preflight(spec, folder, "mine", prompts=prompts)
        assert "as `prompts.system`" in str(error.value)
        assert "`text: prompt+reply`" in str(error.value)
        assert load_and_preflight(spec, folder, "mine", prompts=prompts[:20])["probes"] == len(PROBES)

    def test_a_refusal_for_another_reason_shows_the_roles(self, make_classifier):
        broken = "{% if messages | length > 2 %}{{ raise_exception('too many') }}{% endif %}" + CHATML
        encode = encoder(AutoTokenizer.from_pretrained(f := make_classifier("qwen2", template=broken)), "chat", None, f)
        with pytest.raises(RewardError, match=r"refuses .* \(user, assistant, user, assistant\): too many"):
            encode(TURNS[1:], "So.")

    def test_a_bos_token_in_any_turn_is_refused(self, make_classifier):
        folder = make_classifier("llama")
        encode = encoder(AutoTokenizer.from_pretrained(folder), "chat", None, folder)
        with pytest.raises(RewardError, match="contains a BOS token"):
            encode((("user", "Hi"), ("assistant", "<s>Hello."), ("user", "Why?")), "So.")

    def test_rewards_in_training_are_given_the_turns(self, make_classifier, tmp_path):
        folder = make_classifier("qwen2")
        table, reward = _asked(tmp_path, TURNS, TURNS[1:2]), load_reward(CLASSIFIER, folder)
        turned = reward.score(list(read_beside(CLASSIFIER, table).values()), ["So.", "No."]).score
        given = with_rows(reward, CLASSIFIER, table).score(table["prompt"].to_list(), ["So.", "No."]).score
        np.testing.assert_array_equal(given, turned)
        assert with_rows(reward, CLASSIFIER, table.drop("messages")) is reward
        two = _asked(tmp_path, TURNS, (("user", as_text(_messages(TURNS))),))
        with pytest.raises(RewardError, match="prompt 'p1' has the text of another prompt, but other columns, turns"):
            with_rows(reward, CLASSIFIER, two)

    def test_a_fine_tuned_reward_is_trained_on_the_turns(self, tuned):
        written = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        turns = Prompt("not read", {}, (("user", "Hi"), ("assistant", "Yes."), ("user", "So?")))
        same, other = "Hi\nassistant: Yes.\nuser: So?", "Hi\nassistant: Yes.\n"
        losses = [tuned(written, [(p, "Yes."), (p, "So.")], [(p, "No!"), (p, "Oh.")]) for p in (turns, same, other)]
        assert losses[0] == losses[1] != losses[2]


def test_a_reward_of_replies_alone_is_fine_tuned_on_replies_alone(tuned):
    one, other = (tuned(CHATML, [(p, "Yes.")] * 2, [(p, "No!")] * 2, text="reply") for p in ("a", "Why?"))
    assert one == other
