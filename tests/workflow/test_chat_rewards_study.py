"""A study of conversations whose reward reads through a dated chat template: what it scores, and what it records."""

import json
import shutil

import numpy as np
import pytest
import torch
from project import Project
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from alignment_limits.commands.studies import explain
from alignment_limits.study.load import load_study, over_default, read_study_file
from alignment_limits.tables.artifacts import read_provenance, read_table
from alignment_limits.tables.schemas.samples import SAMPLES, SCORES

TURNS = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Why?")]
TEMPLATE = "{{ strftime_now('%d %b %Y') }}\n{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
STUDY = {
    "prompts": {"source": {"path": "asked.jsonl"}, "count": 4, "template": "chat", "date": "2031-02-03"},
    "gold": "rm",
    "rewards": {"rm": {"kind": "sequence-classifier", "source": {"path": "rm"}}},
    "ensembles": {},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model):
    made = Project.new(tmp_path_factory.mktemp("chat") / "project", tiny_model)
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    for part in (classifier, tokenizer):
        part.save_pretrained(made.folder / "rm")
    messages = [{"role": role, "content": content} for role, content in TURNS]
    rows = [{"prompt_id": i, "messages": messages[:4] if i else messages[1:2]} for i in range(4)]
    (made.folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made.study(STUDY)
    return made


def test_scores_are_of_the_turns_on_the_studys_date_and_record_it(project):
    files = (read_study_file(project.folder / name).values for name in ("config/config.yaml", "study.yaml"))
    study = load_study(over_default(*files))
    shared = f"results/shared/{study.base_id}"
    shard = f"{shared}/scores/{study.scorer_id('rm')}/p00000-00004-b00000.parquet"
    project.run(shard, "results/tiny/preflight/rewards/rm.json")
    scores = read_table(project.folder / shard, SCORES)
    replies = read_table(project.folder / f"{shared}/samples/p00000-00004-b00000.parquet", SAMPLES)
    table = scores.join(replies, on=["prompt_id", "sample_id"], validate="1:1")
    model = AutoModelForSequenceClassification.from_pretrained(project.folder / "rm").eval()
    tokenizer = AutoTokenizer.from_pretrained(project.folder / "rm")
    for prompt_id, reply, score in table.select("prompt_id", "text", "score").sample(12, seed=0).iter_rows():
        turns = [*(TURNS if prompt_id != "0" else TURNS[1:2]), ("assistant", reply)]
        text = "03 Feb 2031\n" + "".join(f"{role}: {content}\n" for role, content in turns)
        with torch.no_grad():
            hidden = model.base_model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0, -1]
        np.testing.assert_allclose(score, model.score(hidden)[0].item(), atol=1e-4)
    assert read_provenance(project.folder / shard)["config"]["spec"]["date"] == "2031-02-03"
    passed = json.loads((project.folder / "results/tiny/preflight/rewards/rm.json").read_text("utf-8"))
    assert passed["provenance"]["config"]["spec"]["date"] == "2031-02-03"

    project.study(STUDY | {"prompts": STUDY["prompts"] | {"date": "2031-02-04"}})
    plan = project.plan("results/tiny/preflight/rewards/rm.json")
    assert "setting spec.date: 2031-02-03 → 2031-02-04" in " ".join(plan.reasons["preflight_reward"]), explain(plan)


def test_a_fine_tuned_reward_without_a_system_role_stops_the_run_before_anything_is_sampled(project):
    tokenizer = AutoTokenizer.from_pretrained(project.folder / "rm")
    tokenizer.chat_template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    shutil.copytree(project.folder / "model", project.folder / "start")
    tokenizer.save_pretrained(project.folder / "start")
    tuned = {"kind": "fine-tuned", "source": {"path": "start"}, "labels": 8}
    labels = {"prompts": 4, "samples_per_prompt": 8}
    rows = (project.folder / "asked.jsonl").read_text("utf-8")
    extra = [{"prompt_id": i, "messages": [{"role": "user", "content": "Hm?"}]} for i in range(4, 8)]
    more = "".join(json.dumps(row) + "\n" for row in extra)
    (project.folder / "eight.jsonl").write_text(rows + more, "utf-8")
    prompts = STUDY["prompts"] | {"source": {"path": "eight.jsonl"}}
    change = {"prompts": prompts, "gold_labels": labels, "rewards": STUDY["rewards"] | {"tuned": tuned}}
    project.study(STUDY | change | {"study": "wrong", "seed": 5})
    said = project.run(check=False)
    assert "reward 'tuned': prompt '" in said
    assert "the chat template takes no system message" in said
    assert "rule sample:" not in said
