"""Prompts that are conversations, and system messages: what is read, what the model is sent."""

import json
from pathlib import Path
from types import SimpleNamespace

import jinja2
import polars as pl
import pytest
import yaml

from alignment_limits.errors import ConfigError, PromptError, SamplingError
from alignment_limits.sampling.shard import own_system, render
from alignment_limits.study.load import load_study
from alignment_limits.tables.prompts import conversations, read_prompts

DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text("utf-8"))
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Why\u2028is it so?"},
]
# as Qwen2.5's: a system message of its own, unless one is given
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|system|>You are Q.<|end|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
)


def tokenizer(template=TEMPLATE):
    def apply(messages, **variables):
        return jinja2.Environment().from_string(template).render(messages=messages, raise_exception=_raise, **variables)

    return SimpleNamespace(
        chat_template=template, apply_chat_template=apply, all_special_tokens=[], added_tokens_decoder={}
    )


def _raise(message):
    raise jinja2.TemplateError(message)


@pytest.fixture
def folder(tmp_path):
    rows = [{"prompt_id": "a", "messages": TURNS}, {"prompt_id": "b", "messages": [{"role": "user", "content": "Hi"}]}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return tmp_path


def test_conversations_are_put_to_the_model_turn_by_turn(folder):
    table = read_prompts(folder)
    asked = conversations(table, "chat")
    assert asked == [TURNS, [{"role": "user", "content": "Hi"}]]
    first, second = render(asked, tokenizer())
    assert first == (
        "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Hello.<|end|>"
        "<|user|>Why\u2028is it so?<|end|><|assistant|>"
    )
    assert second == "<|system|>You are Q.<|end|><|user|>Hi<|end|><|assistant|>"
    assert table["text"].to_list() == [
        "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: Why\u2028is it so?",
        "Hi",
    ]


@pytest.mark.parametrize("suffix", ["parquet", "json", "csv"])
def test_conversations_are_the_same_in_every_format(folder, tmp_path_factory, suffix):
    other = tmp_path_factory.mktemp("other")
    table = pl.DataFrame({"prompt_id": ["a", "b"], "messages": [TURNS, TURNS[1:2]]})
    if suffix == "csv":
        table = table.with_columns(messages=pl.Series([json.dumps(TURNS), json.dumps(TURNS[1:2])]))
    writers = {"parquet": table.write_parquet, "csv": table.write_csv, "json": table.write_json}
    writers[suffix](other / f"p.{suffix}")
    assert conversations(read_prompts(other), "chat") == conversations(read_prompts(folder), "chat")


def test_the_studys_system_message_is_for_prompts_without_one(folder):
    first, second = render(conversations(read_prompts(folder), "chat"), tokenizer(), system="Be kind.")
    assert first.startswith("<|system|>Be brief.<|end|>")
    assert second == "<|system|>Be kind.<|end|><|user|>Hi<|end|><|assistant|>"
    (text,) = render(["Hi"], tokenizer(), system="")
    assert text == "<|system|><|end|><|user|>Hi<|end|><|assistant|>"


def test_a_system_message_that_the_template_writes_is_known():
    assert own_system(tokenizer()) == "You are Q."
    plain = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
    assert own_system(tokenizer(plain)) == ""
    none = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + plain
    assert own_system(tokenizer(none)) == ""


def test_conversations_need_a_chat_template(folder):
    with pytest.raises(PromptError, match=r"prompt a is a conversation \(messages\); set prompts.template: chat"):
        conversations(read_prompts(folder), "none")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "is not a list of messages"),
        ("hello", "is not a list of messages"),
        ([{"role": "user"}], "a message without role and content"),
        ([{"role": "user", "content": " "}], "message 1 has no text"),
        ([{"role": "user", "content": "a\0"}], "message 1 contains a NUL character"),
        ([{"role": "user", "content": "\ud800"}], "message 1 contains a NUL character or half a surrogate"),
        ([{"role": "assistant", "content": "a"}], "message 1 has the role 'assistant'; expected 'user'"),
        ([*TURNS[1:], TURNS[1]], "message 4 has the role 'user'; expected 'assistant'"),
        ([TURNS[1], TURNS[0]], "message 2 has the role 'system'"),
        (TURNS[:3], "ends with the role 'assistant'; the last message must be the user's"),
        ([{"role": "user", "content": "a", "tool_calls": [1]}], "a message with tool_calls"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "message 1 has no text"),
    ],
)
def test_a_conversation_that_cannot_be_sent_is_refused_with_file_and_row(tmp_path, messages, message):
    rows = [{"messages": TURNS}, {"messages": messages}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(PromptError, match="p.jsonl: 'messages' in row 2") as error:
        read_prompts(tmp_path)
    assert message in str(error.value)


def test_a_system_message_is_for_chat_templates_and_decides_the_samples():
    def study(**change):
        return load_study(DEFAULT | {"prompts": DEFAULT["prompts"] | change})

    with pytest.raises(ConfigError, match="prompts: system is for template: chat"):
        study(system="Be kind.")
    ids = [study(template="chat", **given).base_id for given in ({}, {"system": None}, {"system": "x"}, {"system": ""})]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


THINKING = TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{# depth #}"


def test_variables_reach_the_chat_template_and_others_are_refused(folder):
    asked = conversations(read_prompts(folder), "chat")
    plain = render(asked, tokenizer(THINKING))
    assert render(asked, tokenizer(THINKING), variables={"enable_thinking": True}) == plain
    assert render(asked, tokenizer(THINKING), variables={"enable_thinking": False}) == [
        f"{text}<think></think>" for text in plain
    ]
    for wrong in ("enable_thinkin", "depth", "think"):
        with pytest.raises(SamplingError, match=f"the model's chat template does not use '{wrong}'"):
            render(asked, tokenizer(THINKING), variables={wrong: False})
    assert own_system(tokenizer(THINKING), variables={"enable_thinking": False}) == "You are Q."


def test_variables_are_for_chat_templates_and_decide_the_samples():
    def study(start="prompts", **change):
        if start == "prompts":
            return load_study(DEFAULT | {"prompts": DEFAULT["prompts"] | change})
        samples = {"table": "t.csv", "parts": 1} | change
        return load_study(
            {"study": "s", "samples": samples, "gold": "l", "rewards": {"l": {"kind": "length"}}}, "s.yaml"
        )

    for start in ("prompts", "samples"):
        with pytest.raises(ConfigError, match=f"{start}: chat is for template: chat"):
            study(start, chat={"enable_thinking": False})
        given = ({}, {"chat": {}}, {"chat": {"enable_thinking": False}}, {"chat": {"enable_thinking": True}})
        ids = [study(start, template="chat", **each).base_id for each in given]
        assert ids[0] == ids[1]
        assert len(set(ids)) == 3
    with pytest.raises(ConfigError, match=r"chat: the system message is `system`, next to `chat`"):
        study(template="chat", chat={"system": "Be kind."})
    with pytest.raises(ConfigError, match="'add_generation_prompt' cannot be set"):
        study(template="chat", chat={"add_generation_prompt": False})
