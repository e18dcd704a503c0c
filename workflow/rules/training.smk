# in: prompts, the base model, its samples and their scores, the optimised rewards' files
# out: training/<policy and its digest>/model (adapter or checkpoint) and curves.parquet (shared), one job each;
#      each is then an ordinary policy, measured by the rules of policies.smk
from alignment_limits.training import trainers

RUNS = {STUDY.policy_id(run): run for run in STUDY.runs}
TRAINED = shared("training/{policy}/model")
CURVES = shared("training/{policy}/curves.parquet")


def training_inputs(wildcards):
    """Everything of the base, and of each reward that the optimised one is made of."""
    run = RUNS[wildcards.policy]
    files = {
        "base": MODEL_FOLDER,
        "prompts": expand(shared("prompts/{chunk}.parquet"), chunk=CHUNKS),
        "samples": shards("samples/{chunk}-{block}.parquet"),
    }
    for reward in STUDY.members(run.optimized):
        files[f"scores/{reward}"] = score_files(reward)
        source = getattr(STUDY.rewards[reward], "source", None)
        if source:
            files[f"files/{reward}"] = fetched(source)
    return files


def training_settings(wildcards):
    run = RUNS[wildcards.policy]
    ensemble = STUDY.ensembles.get(run.optimized)
    rewards = {name: STUDY.rewards[name] for name in STUDY.members(run.optimized)}
    return {
        "run": run.settings,
        "labels": {"policy": run.name} | run.labels,
        "rewards": {n: r.model_dump(exclude={"note"}) for n, r in rewards.items()},
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
    """The closure of the script, of the objective's module, and of the rewards' modules."""

    def fingerprint(wildcards):
        run = RUNS[wildcards.policy]
        modules = [f"alignment_limits.training.{trainers.module_of(run.objective)}"]
        for name in STUDY.members(run.optimized):
            spec = STUDY.rewards[name]
            modules.append(module_of(spec.kind))
            if spec.kind == "python":
                modules.append(module_of(spec.kind, spec.function))
        return code(script, *modules)

    return fingerprint


rule train_policy:
    input:
        unpack(training_inputs),
    output:
        folder=directory(TRAINED),
        curves=CURVES,
    log:
        results("logs/train_policy/{policy}.log"),
    benchmark:
        results("benchmarks/train_policy/{policy}.tsv")
    wildcard_constraints:
        policy="|".join(map(re.escape, RUNS)),
    priority: 30
    envmodules:
        *MODULES,
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=1,
    params:
        p=training_settings,
        code=training_code("train_policy.py"),
    script:
        "../scripts/train_policy.py"


# A study's own view of its runs: training/<policy>/model and curves.parquet are links.
rule link_training:
    input:
        expand(CURVES, policy=RUNS),
    output:
        [directory(results(f"training/{run.name}")) for run in STUDY.runs],
    log:
        results("logs/link_training/link_training.log"),
    benchmark:
        results("benchmarks/link_training/link_training.tsv")
    localrule: True
    params:
        p={
            "links": {
                results(f"training/{run.name}"): shared(f"training/{run_id}")
                for run_id, run in RUNS.items()
            }
        },
        code=code("link_training.py"),
    script:
        "../scripts/link_training.py"


rule figure_training_curves:
    input:
        curves=lambda w: [
            CURVES.format(policy=run_id)
            for run_id, run in RUNS.items()
            if (run.recipe_name, run.optimized) == (w.recipe, w.optimized)
        ],
    output:
        pdf=results("figures/training-{recipe}-{optimized}.pdf"),
        png=report(
            results("figures/training-{recipe}-{optimized}.png"),
            caption="../report/figure_training_curves.rst",
            category="5 Policies",
            labels={"figure": "training by {recipe} on {optimized}"},
        ),
    log:
        results("logs/figure_training_curves/{recipe}-{optimized}.log"),
    benchmark:
        results("benchmarks/figure_training_curves/{recipe}-{optimized}.tsv")
    wildcard_constraints:
        recipe="|".join(map(re.escape, STUDY.training or [])),
        optimized="|".join(map(re.escape, {run.optimized for run in STUDY.runs})),
    params:
        p=STYLE | {"gold": STUDY.gold},
        code=code("figure_training_curves.py"),
    script:
        "../scripts/figure_training_curves.py"


def of_training():
    """Targets that only a study that trains has."""
    drawn = {(run.recipe_name, run.optimized): None for run in STUDY.runs}
    figure = results("figures/training-{}-{}.{}")
    figures = [figure.format(*pair, kind) for pair in drawn for kind in ("pdf", "png")]
    return [*rules.link_training.output, *figures] if RUNS else []
