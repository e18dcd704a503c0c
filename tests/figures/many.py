"""Sixteen rewards called as people call theirs, in the tables that figures read."""

import numpy as np
import polars as pl
import synthetic

NAMES = (
    "Skywork-Reward-V2-Llama-3.1-8B",
    "nvidia/Llama-3.1-Nemotron-70B-Reward",
    "Skywork-Reward-V2-Qwen3-8B",
    "RLHFlow/ArmoRM-Llama3-8B-v0.1",
    "internlm/internlm2-20b-reward",
    "rewards/accuracy",
    "OpenAssistant/reward-model-deberta-v3",
    "infly/INF-ORM-Llama3.1-70B",
    "allenai/Llama-3.1-Tulu-3-8B-RM",
    "Ray2333/GRM-Llama3-8B-rewardmodel-ft",
    "LxzGordon/URM-LLaMa-3.1-8B",
    "NCSOFT/Llama-3-OffsetBias-RM-8B",
    "openbmb/Eurus-RM-7b",
    "weqweasdas/RM-Mistral-7B",
    "sfairXC/FsfairX-LLaMA3-RM-v0.1",
    "CIR-AMS/BTRM_Qwen2_7b_0613",
)


def study(proxies, ensembles):
    """Frontier, best-of-n and over-optimisation of so many proxies and ensembles; their names."""
    own, sums = NAMES[:proxies], NAMES[proxies : proxies + ensembles]
    tables = [synthetic.frontier(), synthetic.best_of_n(), synthetic.over_optimisation()]
    gold, models = [], list(synthetic.RHO)
    for table in tables:
        parts = [table.filter(pl.col("optimized") == "gold")]
        for i, name in enumerate((*own, *sums)):
            model, factor = models[i % len(models)], 1 - 0.03 * (i // len(models))
            part = table.filter(pl.col("optimized") == model)
            scaled = [pl.col(c) * factor for c in ("gain", "gain_low", "gain_high") if c in table.columns]
            swap = {"optimized": pl.lit(name)}
            if "evaluated" in table.columns:
                swap["evaluated"] = pl.col("evaluated").replace({model: name})
            parts.append(part.with_columns(scaled).with_columns(**swap))
        gold.append(pl.concat(parts))
    return (*gold, own, sums)


def scores(names, prompts=8, samples=32):
    """Standardised scores of gold and of these rewards."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=prompts * samples)
    ids = [(f"p{i}", j) for i in range(prompts) for j in range(samples)]
    table = {"prompt_id": [p for p, _ in ids], "sample_id": [s for _, s in ids], "gold": truth}
    table |= {n: 0.9**i * truth + rng.normal(size=truth.size) for i, n in enumerate(names)}
    return pl.DataFrame(table, schema_overrides={"sample_id": pl.Int32})


def policies(count):
    """So many policies, each of an objective and a reward of its own."""
    one = synthetic.policies(("gold",)).filter(pl.col("policy") == "ppo-a")
    return pl.concat(
        one.with_columns(
            policy=pl.lit(f"policy-{i}"), objective=pl.lit("ppo"), optimized=pl.lit(NAMES[i]), kl=pl.lit(0.1 + 0.1 * i),
            kl_low=pl.lit(0.08 + 0.1 * i), kl_high=pl.lit(0.13 + 0.1 * i),
        )
        for i in range(count)
    )  # fmt: skip
