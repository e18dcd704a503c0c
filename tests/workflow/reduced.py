"""A study of config/studies reduced to seconds: all its stages, tables, figures and pages; tiny models and grids."""

import itertools
import json
import string
from pathlib import Path
from typing import Any

import yaml

from alignment_limits.study.load import over_default

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
MODEL = {"path": "model"}
OWN_REWARDS = """
def letters(texts, replies, wanted):
    return [sum(reply.count(c) for c in wanted) + 0.01 * len(reply) for reply in replies]
"""
CONTEXT = 1024  # of the tiny model, a token a byte: the longest text that rewards are tried on has 850
VOCABULARY = "aeiou", "bcdfg", "hjklm", "npqrs", "tvwxyz", "0123456789", "AEIOU", "BCDFGHJK"
# at most so much of each number and each list, by its place in the file
AT_MOST: dict[str, Any] = {
    "prompts": {"count": 6},
    "sampling": {"samples_per_prompt": 16, "policy_samples_per_prompt": 16, "max_new_tokens": 6},
    "gold_labels": {"prompts": 4, "samples_per_prompt": 16},
    "preferences": {"pairs_per_prompt": 20},
    "limits": {
        "betas": 3,
        "kls": 4,
        "best_of": 3,
        "soft_temperatures": 1,
        "pessimism_betas": 1,
        "ensemble_betas": 1,
        "bootstrap": 200,
    },
    "learning": {"seeds": 3, "estimate_gamma": 1, "folds": 2},
}
RECIPE = {"steps": 2, "batch": 8, "group": 4, "coefficients": 1, "seeds": 1, "optimize": 1, "learn_from": 1}


def reduced(study: dict[str, Any]) -> dict[str, Any]:
    """The study with all it takes from the default written out, and as little of each as shows everything it makes."""
    study = _at_most(over_default(DEFAULT, study), AT_MOST)
    if "model" in study:
        if "enumerable" not in study:  # whose model is tiny as it is
            study["model"] |= {"name": "tiny", "source": MODEL}
            source = {"path": "documents.jsonl" if "documents" in study else "prompts.txt"}
            study["prompts"] |= {"source": source, "stratify_by": None}
        drawn = study["sampling"]["samples_per_prompt"]
        study["sampling"] |= {"engine": "transformers", "block": drawn, "shard_tokens": 10**6}
        if "enumerable" not in study:
            wanted = itertools.cycle(VOCABULARY)
            study["rewards"] = {name: _reward(reward, next(wanted)) for name, reward in study["rewards"].items()}
        study["limits"]["best_of"] = [n for n in study["limits"]["best_of"] if n <= drawn]
    for section, key in (("gold_labels", "sweep"), ("preferences", None)):
        holder = (study.get(section) or {}) if key is None else (study.get(section) or {}).get(key) or {}
        if "features" in holder:
            holder["features"] = MODEL
    if (study.get("gold_labels") or {}).get("sweep"):
        study["gold_labels"]["sweep"] |= {"labels": [10, 20], "members": [1, 2], "ensemble_labels": 20}
    if "training" in study:
        study["training"] = _recipes(study["training"])
    if "learning" in study:
        learning = study["learning"]
        learning |= {"n": [64, 512, 4096], "slope_from": 64, "betas": [0.0078125, 0.125, 1, 8]}
        learning["settings"] = {k: levels[:2] for k, levels in learning.get("settings", {"as-modelled": [0]}).items()}
    return study


def _at_most(value: Any, limits: Any) -> Any:
    if isinstance(value, dict):
        return {k: _at_most(v, limits[k]) if k in limits else v for k, v in value.items()}
    if isinstance(value, list):
        return value[:limits]
    return value if value is None else min(value, limits)


def _reward(reward: dict[str, Any], wanted: str) -> dict[str, Any]:
    """The same kind where the tiny model will do for it, or nothing has to be fetched; else a function."""
    common = {k: reward[k] for k in ("sign", "note", "text", "beside") if k in reward}
    if reward["kind"] in ("trained", "fine-tuned"):
        fewer = {k: min(reward[k], 20) for k in ("labels", "batch") if k in reward}
        return (
            {k: v for k, v in reward.items() if k != "source"}
            | fewer
            | ({"features": MODEL} if "features" in reward else {})
        )
    if "source" not in reward and reward["kind"] != "lexicon":  # which would find no word in noise
        return reward
    if reward["kind"] in ("embedding", "similarity") and "static" not in reward:
        return reward | {"source": MODEL}
    common.pop("text", None)
    return common | {"kind": "python", "function": "own_rewards:letters", "options": {"wanted": wanted}}


def _recipes(training: dict[str, Any]) -> dict[str, Any]:
    """The first two objectives, trained for two steps; exact training, which runs until it is exact, is left out."""
    out: dict[str, Any] = {}
    for name, recipe in training.items():
        if (
            len(out) < 2
            and recipe["objective"] != "exact"
            and recipe["objective"] not in {r["objective"] for r in out.values()}
        ):
            out[name] = _at_most(recipe, RECIPE) | {"dtype": "float32", "kl_every": 1}
            out[name].pop("stop", None)  # no two windows in two steps
            if "pairs" in recipe:
                out[name]["pairs"] = [20]
            if out[name].get("lora"):
                out[name]["lora"] = {"rank": 2, "alpha": 4, "layers": 1}
    return out


def inputs(study: dict[str, Any], folder: Path) -> None:
    """What a reduced study reads, put into its project's folder."""
    (folder / "own_rewards.py").write_text(OWN_REWARDS)
    config = json.loads((folder / "model/config.json").read_text("utf-8"))
    if config["max_position_embeddings"] < CONTEXT:
        (folder / "model/config.json").write_text(json.dumps(config | {"max_position_embeddings": CONTEXT}), "utf-8")
    if not (folder / "resources").exists():
        (folder / "resources").symlink_to(ROOT / "resources")
    (folder / "prompts.txt").write_text("".join(f"prompt number {i} says {i * i}\n" for i in range(24)))
    if documents := study.get("documents"):
        columns, letters = [documents["text"], *documents["references"]], string.ascii_letters + string.digits
        with (folder / "documents.jsonl").open("w") as file:
            for i in range(12):
                record: dict[str, Any] = {}
                for j, column in enumerate(columns):
                    words = " ".join(letters[i % 3 + 2 * j :: 3])  # of one letter, which noise contains, too
                    _put(record, column, f"text {j} of paper {i}: {words}")
                for key in ("id", "category"):
                    if documents.get(key):
                        _put(record, documents[key], f"{key}-{i if key == 'id' else i % 2}")
                file.write(json.dumps(record) + "\n")


def _put(record: dict[str, Any], column: str, value: str) -> None:
    *above, last = column.split(".")
    for key in above:
        record = record.setdefault(key, {})
    record[last] = value
