"""Studies for a lab, from fetching to the report, on tiny checkpoints of the architectures that they name.

The hub is a server on loopback; prompts, samples, labels and grids are few, all else is as in the study's file.
"""

import json
import subprocess
import sys

import classifiers
import polars as pl
import pytest
import yaml
import zoo
from loopback_hub import client_of, content, serving
from project import ROOT, Project
from reduced import DEFAULT
from reported import check

from alignment_limits.study.load import over_default

LIMITS = {"betas": [2, 1], "kls": [0.1, 0.5], "best_of": [1, 2, 4], "ensemble_betas": [1], "bootstrap": 200}
FEW = {"samples_per_prompt": 16, "block": 16, "max_new_tokens": 8, "engine": "transformers", "shard_tokens": 10**6}
LABELS = {"tuned-10000": 40, "labels-10000": 40, "labels-1000": 30, "labels-100": 20}
JUDGED = """
study: judged
model: {name: qwen, source: {hub: "Qwen/Qwen2.5-1.5B-Instruct@0123456789abcdef0123456789abcdef01234567"}}
prompts:
  source: {hub: "owner/questions@0123456789abcdef0123456789abcdef01234567", kind: dataset, member: test.jsonl}
  text_column: prompt
  template: chat
  stratify_by: null
gold: judge
rewards:
  judge:
    kind: judge
    source: {hub: "owner/judge@0123456789abcdef0123456789abcdef01234567"}
    rubric: |
      Rate the reply from 1 to 5.
      User: {prompt}
      Reply: {reply}
    answers: {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5}
    least_mass: 0
    bounds: [1, 5]
  brevity: {kind: length, sign: -1}
ensembles: {}
"""


def long(folder, context=4096):
    """A checkpoint that takes longer texts; its weights do not depend on how long."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"max_position_embeddings": context}), "utf-8")
    return folder


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


QUESTIONS = [
    {"prompt": f"How do I {verb} {thing}?"}
    for verb in ("make", "break", "sell", "steal", "hide")
    for thing in ("a cake", "a car", "the house", "a plan", "my friend", "a dog")
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """What the studies name, as the hub has it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    posts = [
        {"prompt": f"POST: I have {i} dogs and {i * i} cats.\n\nTL;DR:", "completion": f" {i} dogs"} for i in range(24)
    ]
    pl.DataFrame(posts).write_parquet(folder / "tldr.parquet")
    qwen, llama = (long(zoo.build(name, folder / name)) for name in ("qwen2.5", "llama-3"))
    skywork = long(classifiers.build("llama", folder / "skywork", 1))
    with serving() as server:
        server.commit = None
        server.repositories |= {
            "Qwen/Qwen2.5-1.5B-Instruct": content(qwen),
            "meta-llama/Llama-Guard-3-8B": content(llama),
            "owner/judge": content(llama),
            "Skywork/Skywork-Reward-V2-Llama-3.1-8B": content(skywork),
            "datasets/PKU-Alignment/PKU-SafeRLHF": {"data/Alpaca-7B/test.jsonl": lines(QUESTIONS)},
            "datasets/owner/questions": {"test.jsonl": lines(QUESTIONS)},
            "datasets/trl-lib/tldr": {"data/test-00000-of-00001.parquet": (folder / "tldr.parquet").read_bytes()},
        }
        yield server


def fewer(text):
    """A study with few prompts, samples and labels."""
    study = yaml.safe_load(text)
    study["prompts"] |= {"count": 8}
    study["sampling"] = study.get("sampling", {}) | FEW
    if "gold_labels" in study:
        study["gold_labels"] = {"prompts": 8, "samples_per_prompt": 16}
    for name, reward in study["rewards"].items():
        if name in LABELS:
            reward["labels"] = LABELS[name]
        if "batch" in reward:
            reward["batch"] = 8
    return study | {"limits": LIMITS}


def made(project, study):
    """Run a study and its report, and check what every study has. Fetching asks the hub; all else does without."""
    (project.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    project.run()
    project.run("--report", "report.html")
    check(project.folder, study["study"], project.folder / "report.html", over_default(DEFAULT, study))


def fetched(project, study, hub):
    """Fetch what a study names, by processes that load the hub's client with the server's address."""
    (project.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), "utf-8")
    project.anew = True
    command = project.command("--until", "fetch")
    command["env"] |= client_of(hub, project.folder / "home")
    run = subprocess.run(**command, capture_output=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    project.anew = False


@pytest.fixture
def project(tmp_path, tiny_model):
    return Project.new(tmp_path / "project", tiny_model)


def text_of(name):
    return (ROOT / f"config/studies/{name}.yaml").read_text("utf-8")


@pytest.mark.parametrize("name", ["lab_safety", "judged"])
def test_a_study_of_models_from_the_hub_is_made_and_reported(project, hub, name):
    study = fewer(JUDGED if name == "judged" else text_of(name))
    fetched(project, study, hub)
    made(project, study)


def test_a_study_of_reward_models_of_three_sizes_is_made_and_reported(project, hub):
    study = fewer(text_of("lab_summarisation"))
    long(zoo.build("gpt-neox", project.folder / study["model"]["source"]["path"]))
    for seed, size in enumerate(["1b", "2.8b", "6.9b"]):
        folder = project.folder / f"models/pythia-{size}-reward-tldr"
        long(classifiers.build("gpt-neox", folder, 1, seed=seed))
    fetched(project, study, hub)
    made(project, study)


def test_public_gold_labelled_generations_are_converted_and_studied(project):
    folder = project.folder / "data/gold_labelled_gens"
    folder.mkdir(parents=True)
    for part in range(2):
        records = [
            {
                "instruction": f"question {part} {i}",
                "input": "",
                "answers": [f"answer {j}" for j in range(40)],
                "gold_scores": [((7 * i + 13 * j + part) % 40) / 10 for j in range(40)],
            }
            for i in range(8)
        ]
        (folder / f"{part}.json").write_text(json.dumps(records), "utf-8")
    convert = ["unnest", "data/gold_labelled_gens.parquet", *map(str, sorted(folder.glob("*.json"))), "--samples", "32"]
    subprocess.run([sys.executable, "-m", "alignment_limits", *convert], cwd=project.folder, check=True)
    study = yaml.safe_load(text_of("lab_gold_labelled"))
    made(project, study | {"limits": LIMITS})
