# in: prompts, the base model, its samples and their scores, the files of the optimised rewards; for runs that learn
#     from pairs also preference pairs, features of the samples and their encoder
# out: training/<policy and its digest>/model (adapter or checkpoint) and curves.parquet (shared), one job per policy;
#      afterwards it is an ordinary policy, measured by the rules of policies.smk; policies/gap.parquet, the parts of
#      each one's distance from its optimum
from alignment_limits.report.figures.entries import FIGURES
from alignment_limits.report.figures.table import settings_of
from alignment_limits.files import digest
from alignment_limits.study.training import learned_from
from alignment_limits.study.objectives import OBJECTIVES, those, trainer

TRAINED_MODEL = shared("training/{policy}/model")
# curves that are drawn in one figure, by their files
DRAWN = by_file_name(run.curve for run in STUDY.runs)
CURVES = shared("training/{policy}/curves.parquet")
# runs of sweeps over learning rates, by sweep; their policies are not measured
SWEEPS = {
    f"{file_name(sweep.recipe_name)}-{file_name(sweep.optimized)}-{digest(ids)}": (
        sweep,
        ids,
    )
    for sweep in STUDY.sweeps
    for ids in [[STUDY.policy_id(run) for run in sweep.runs]]
}
SWEEP = shared("sweeps/{sweep}.parquet")
TRAINED = LAYOUT.runs | {
    run_id: run
    for sweep, ids in SWEEPS.values()
    for run_id, run in zip(ids, sweep.runs)
}


def sweep_of(run):
    """Id of the sweep that chooses a run's learning rate."""
    (found,) = (
        sweep_id
        for sweep_id, (sweep, _) in SWEEPS.items()
        if (sweep.recipe_name, sweep.optimized) == (run.recipe_name, run.optimized)
    )
    return found


def training_inputs(wildcards):
    """Files of the base, and of each reward that is part of the optimised one."""
    run = TRAINED[wildcards.policy]
    files = {
        "base": LAYOUT.model,
        "prompts": expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.chunks),
        "samples": LAYOUT.shards("samples/{chunk}-{block}.parquet"),
    }
    for reward in STUDY.members(run.optimized):
        files[f"scores/{reward}"] = LAYOUT.score_files(reward)
        for term in STUDY.terms(reward):
            files[f"files/{term}"] = LAYOUT.scoring_files(term)
    if STUDY.documents is not None:
        files["documents"] = shared("documents")
    if isinstance(run.recipe.learning_rate, list):
        files["sweep"] = SWEEP.format(sweep=sweep_of(run))
    if run.setting:
        files["preferences"] = results(f"preferences/{run.setting}.parquet")
        fits = OBJECTIVES[run.objective].fits_reward
        if fits:
            files["features"] = LAYOUT.feature_shards(STUDY.preferences)
        if fits and OBJECTIVES[run.objective].online:
            files["encoder"] = LAYOUT.fetched(STUDY.preferences.features)
    return files


def training_settings(wildcards):
    run = TRAINED[wildcards.policy]
    ensemble = STUDY.ensembles.get(run.optimized)
    members = STUDY.members(run.optimized)
    return {
        "run": run.settings,
        "labels": {"policy": run.name} | run.labels | {"coefficient": run.coefficient},
        "preferences": learned_from(run, STUDY.preferences),
        "rewards": {
            term: LAYOUT.scoring_settings(term)
            for member in members
            for term in STUDY.terms(member)
        },
        "terms": {member: STUDY.terms(member) for member in members},
        "ensemble": ensemble and ensemble.model_dump(),
        "sampling": {
            "max_new_tokens": STUDY.sampling.max_new_tokens,
            "temperature": STUDY.sampling.temperature,
            "top_p": STUDY.sampling.top_p,
        },
        "template": STUDY.prompts.template,
        "trust_remote_code": STUDY.model.trust_remote_code,
    }


def training_code(script):
    """The modules that the script imports, the objective's module, and the modules of the rewards."""

    def fingerprint(wildcards):
        run = TRAINED[wildcards.policy]
        name, _ = trainer(run.objective, on_pairs=bool(run.setting))
        modules = [f"alignment_limits.training.{name}"]
        for member in STUDY.members(run.optimized):
            for term in STUDY.terms(member):
                if (
                    STUDY.rewards[term].kind != "trained"
                ):  # the script itself loads heads
                    modules += LAYOUT.modules(term)
        return code(script, *modules)

    return fingerprint


rule train_policy:
    input:
        unpack(training_inputs),
    output:
        folder=directory(TRAINED_MODEL),
        curves=CURVES,
    log:
        results("logs/train_policy/{policy}.log"),
    benchmark:
        results("benchmarks/train_policy/{policy}.tsv")
    wildcard_constraints:
        policy=one_of(TRAINED),
    priority: 30
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    threads: CORES
    resources:
        gpu=GPU,
        mem_mb=MEMORY.of("train_policy"),
    params:
        p=training_settings,
        code=training_code("train_policy.py"),
    script:
        "../scripts/train_policy.py"


rule choose_rate:
    input:
        lambda w: [CURVES.format(policy=run_id) for run_id in SWEEPS[w.sweep][1]],
    output:
        sweep=SWEEP,
    log:
        results("logs/choose_rate/{sweep}.log"),
    benchmark:
        results("benchmarks/choose_rate/{sweep}.tsv")
    wildcard_constraints:
        sweep=one_of(SWEEPS),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p=lambda w: {
            "recipe": SWEEPS[w.sweep][0].recipe_name,
            "optimized": SWEEPS[w.sweep][0].optimized,
            "runs": [run.settings for run in SWEEPS[w.sweep][0].runs],
        },
        code=code("choose_rate.py"),
    script:
        "../scripts/choose_rate.py"


# The sweeps of the study, one below the other.
rule sweep_table:
    input:
        [SWEEP.format(sweep=sweep) for sweep in SWEEPS],
    output:
        sweep=results("training/sweep.parquet"),
    log:
        results("logs/sweep_table/sweep_table.log"),
    benchmark:
        results("benchmarks/sweep_table/sweep_table.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={},
        code=code("sweep_table.py"),
    script:
        "../scripts/sweep_table.py"


# The study's own links to its runs: training/<policy>/model and curves.parquet.
rule link_training:
    input:
        expand(CURVES, policy=LAYOUT.runs),
    output:
        [directory(results(f"training/{file_name(run.name)}")) for run in STUDY.runs],
    log:
        results("logs/link_training/link_training.log"),
    benchmark:
        results("benchmarks/link_training/link_training.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={
            "links": {
                results(f"training/{file_name(run.name)}"): shared(
                    f"training/{run_id}"
                )
                for run_id, run in LAYOUT.runs.items()
            }
        },
        code=code("link_training.py"),
    script:
        "../scripts/link_training.py"


rule figure_training_curves:
    input:
        **(
            {"scales": results("ensembles/scales.parquet")}
            if STUDY.units == "raw"
            else {}
        ),
        curves=lambda w: [
            CURVES.format(policy=run_id)
            for run_id, run in LAYOUT.runs.items()
            if run.curve == DRAWN[w.curve]
        ],
    output:
        pdf=results("figures/training-{curve}.pdf"),
        png=report(
            results("figures/training-{curve}.png"),
            caption="../report/caption.rst",
            category=FIGURES["training_curves"].category,
            labels=lambda w: {
                "figure": FIGURES["training_curves"].label.format(curve=DRAWN[w.curve])
            },
        ),
    log:
        results("logs/figure_training_curves/{curve}.log"),
    benchmark:
        results("benchmarks/figure_training_curves/{curve}.tsv")
    wildcard_constraints:
        curve=one_of(DRAWN),
    conda:
        ENVIRONMENT
    params:
        figure="training_curves",
        p=settings_of(FIGURES["training_curves"], STUDY)
        | {"caption": caption(FIGURES["training_curves"], STUDY)},
        code=code("figure.py", FIGURES["training_curves"].module),
    script:
        "../scripts/figure.py"


# runs whose coefficient is the β of E r − β·KL
PENALISED = [run for run in STUDY.runs if run.has_beta]


rule policy_gap:
    input:
        **({"exact": results("exact/policies.parquet")} if STUDY.enumerable else {}),
        by_prompt=results("policies/by_prompt.parquet"),
        policies=results("policies/policies.parquet"),
        standardised=results("ensembles/standardised.parquet"),
    output:
        gap=results("policies/gap.parquet"),
    log:
        results("logs/policy_gap/gap.log"),
    benchmark:
        results("benchmarks/policy_gap/gap.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "ensembles": {name: e.model_dump() for name, e in STUDY.ensembles.items()},
            "rewards": list(STUDY.rewards),
            "runs": {
                run.name: run.labels | {"network": run.network} for run in PENALISED
            },
            "same_optimum": those("tilts"),
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
        },
        code=code("policy_gap.py"),
    script:
        "../scripts/policy_gap.py"


if PENALISED:
    MADE += rules.policy_gap.output

if SWEEPS:
    MADE += rules.sweep_table.output

if LAYOUT.runs:
    MADE += [
        *rules.link_training.output,
        *(
            results(f"figures/training-{curve}.{kind}")
            for curve in sorted(DRAWN)
            for kind in ("pdf", "png")
        ),
    ]
