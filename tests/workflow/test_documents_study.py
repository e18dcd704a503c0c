"""Documents with references in the workflow: prompts made of them, rewards beside them, gold judged."""

import json

import polars as pl

from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import GOLD, PROMPTS

OWN = """

def shared_letters(references, replies):
    return [len(set(a) & set(b)) + 0.01 * len(b) for a, b in zip(references, replies)]
"""
CHANGE = {
    "prompts": {"source": {"path": "papers.jsonl"}, "count": 4, "template": "chat"},
    "documents": {
        "text": "paper.abstract",
        "references": ["claims.first", "claims.second"],
        "instruction": "Sum up: {document}",
    },
    "sampling": {"samples_per_prompt": 8},
    "gold": "own",
    "rewards": {
        "own": {"kind": "python", "function": "own_rewards:shared_letters", "beside": "reference"},
        "overlap": {"kind": "rouge", "beside": "document", "measure": "rouge-l"},
        "information": {"kind": "information-gain", "beside": "document", "price": 0.1},
        "both": {"kind": "sum", "terms": {"information": 1, "overlap": 20}},
    },
    "ensembles": {},
}


def test_prompts_are_made_of_documents_and_gold_is_judged_on_experts(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    with (project.folder / "papers.jsonl").open("w") as file:
        for i in range(6):
            paper = {"abstract": [f"We study {i} things.", "It works."]}
            claims = {"first": f"abc {i}", "second": f"xyz {i} {i}"}
            file.write(json.dumps({"paper": paper, "claims": claims}) + "\n")
    with (project.folder / "own_rewards.py").open("a") as file:
        file.write(OWN)
    project.study(CHANGE)
    project.run("results/tiny/report/gold.parquet", "results/tiny/prompts.parquet")
    results = project.folder / "results/tiny"

    prompts = read_table(results / "prompts.parquet", PROMPTS)
    row = prompts.sort("prompt_id").row(0, named=True)
    number = row["prompt_id"][-1]
    assert row["prompt"] == f"Sum up: We study {number} things. It works."
    assert row["text"] == f"<s>{row['prompt']}"
    assert row["reference"] == f"abc {number}\nxyz {number} {number}"

    def scores_of(reward):
        (folder,) = (shared / "scores").glob(f"{reward}-*")
        return pl.concat([pl.read_parquet(f) for f in sorted(folder.iterdir())])

    # the user's function was given the references: its score of a reply can be had from them
    (shared,) = [f for f in (project.folder / "results/shared").iterdir() if (f / "documents").is_dir()]
    samples = pl.concat([pl.read_parquet(f) for f in (shared / "samples").iterdir()])
    table = samples.join(scores_of("own"), on=["prompt_id", "sample_id"]).join(
        prompts, on="prompt_id", suffix="_prompt"
    )
    for row in table.iter_rows(named=True):
        assert row["score"] == len(set(row["reference"]) & set(row["text"])) + 0.01 * len(row["text"])

    both, information, overlap = (scores_of(name)["score"] for name in ("both", "information", "overlap"))
    assert both.to_list() == (information + 20 * overlap).to_list()

    gold = read_table(results / "report/gold.parquet", GOLD)
    assert gold["reward"].to_list() == list(CHANGE["rewards"])
    assert gold["documents"].to_list() == [4, 4, 4, 4]
    assert gold.filter(pl.col("reward") != "own")["spearman"].is_finite().all()
