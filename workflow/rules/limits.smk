# in: scores of all rewards
# out: ensembles/scales.parquet (centre per prompt, scale), ensembles/standardised.parquet (every reward and ensemble,
#      one column each, on one scale); limits/frontier.parquet, limits/best_of_n.parquet; limits/proxy_gap.parquet,
#      limits/over_optimisation.parquet, limits/ensembles.parquet (the cost of a wrong reward, and where gold peaks);
#      limits/labels.parquet (are samples with a score a random part, where a reward lacks scores); on
#      demand limits/plan.parquet (the size that a study needs, with this one as its pilot); tradeoffs/<question>.parquet;
#      with `units: raw` raw/<table>.parquet, in the rewards' own units
from alignment_limits.tables.estimates import ESTIMATORS, inputs_of, made_for
from alignment_limits.tables.estimates import settings_of

# where a reward lacks scores of some samples
if STUDY.partial:

    rule standardise_partial:
        input:
            LAYOUT.clusters,
            **{
                f"scores/{name}": LAYOUT.score_files(name)
                for name in STUDY.reward_names
            },
        output:
            scales=results("ensembles/scales.parquet"),
            standardised=results("ensembles/rewards.parquet"),
        log:
            results("logs/standardise_partial/standardise_partial.log"),
        benchmark:
            results("benchmarks/standardise_partial/standardise_partial.tsv")
        conda:
            ENVIRONMENT
        params:
            p={
                "rewards": STUDY.reward_names,
                "bounds": STUDY.bounds,
                "partial": STUDY.partial,
            },
            code=code("standardise_partial.py"),
        script:
            "../scripts/standardise_partial.py"

else:

    rule standardise:
        input:
            LAYOUT.clusters,
            **{
                f"scores/{name}": LAYOUT.score_files(name)
                for name in STUDY.reward_names
            },
        output:
            scales=results("ensembles/scales.parquet"),
            standardised=results("ensembles/rewards.parquet"),
        log:
            results("logs/standardise/standardise.log"),
        benchmark:
            results("benchmarks/standardise/standardise.tsv")
        conda:
            ENVIRONMENT
        params:
            p={"rewards": STUDY.reward_names, "bounds": STUDY.bounds},
            code=code("standardise.py"),
        script:
            "../scripts/standardise.py"


rule ensembles:
    input:
        standardised=results("ensembles/rewards.parquet"),
    output:
        standardised=results("ensembles/standardised.parquet"),
    log:
        results("logs/ensembles/ensembles.log"),
    benchmark:
        results("benchmarks/ensembles/ensembles.tsv")
    conda:
        ENVIRONMENT
    params:
        p={name: e.model_dump() for name, e in STUDY.ensembles.items()},
        code=code("ensembles.py"),
    script:
        "../scripts/ensembles.py"


for NAME, ESTIMATOR in ESTIMATORS.items():

    rule:
        name:
            NAME
        input:
            **{k: results(path) for k, path in inputs_of(NAME, STUDY).items()},
            standardised=results("ensembles/standardised.parquet"),
        output:
            table=results(ESTIMATOR.path),
        log:
            results(f"logs/{NAME}/{NAME}.log"),
        benchmark:
            results(f"benchmarks/{NAME}/{NAME}.tsv")
        priority: ESTIMATOR.priority
        conda:
            ENVIRONMENT
        params:
            estimator=NAME,
            p=settings_of(NAME, STUDY),
            code=code("estimate.py"),
        script:
            "../scripts/estimate.py"


TABLES += [
    results("ensembles/standardised.parquet"),
    results("limits/frontier.parquet"),
    results("limits/best_of_n.parquet"),
    results("limits/over_optimisation.parquet"),
]
MADE += [
    *(rules.standardise_partial if STUDY.partial else rules.standardise).output,
    *rules.ensembles.output,
    *(results(ESTIMATORS[name].path) for name in made_for(STUDY)),
]


# the same tables in the rewards' own units
if STUDY.units == "raw":
    from alignment_limits.tables.units import raw_path, raw_tables

    rule raw_units:
        input:
            **{file: results(file) for file in raw_tables(STUDY)},
            scales=results("ensembles/scales.parquet"),
        output:
            **{file: results(raw_path(file)) for file in raw_tables(STUDY)},
        log:
            results("logs/raw_units/raw_units.log"),
        benchmark:
            results("benchmarks/raw_units/raw_units.tsv")
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p={"gold": STUDY.gold},
            code=code("raw_units.py"),
        script:
            "../scripts/raw_units.py"

    MADE += rules.raw_units.output
