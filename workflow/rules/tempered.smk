# in: prompts, the base model, its samples and their scores, the files of the tempering reward and of gold
# out: tempered/<chunk>.parquet (replies from tilts of the base, level by level; the first chunk chooses the levels),
#      limits/tempered.parquet (the limit up to tempered.kl, and what each level gains and costs)
from alignment_limits.tables.pools import reaching

TEMPERED = STUDY.tempered.reward or STUDY.gold


def tempered_inputs(wildcards):
    """Files of the base, and of each reward that is part of the tempering reward or of gold."""
    first = LAYOUT.chunks[0]
    files = {
        "model": LAYOUT.model,
        "prompts": expand(shared("prompts/{chunk}.parquet"), chunk=LAYOUT.chunks),
        "chunk": shared(f"prompts/{wildcards.chunk}.parquet"),
        "samples": expand(
            shared("samples/{chunk}-{block}.parquet"),
            chunk=wildcards.chunk,
            block=LAYOUT.blocks,
        ),
        "first": (
            [] if wildcards.chunk == first else results(f"tempered/{first}.parquet")
        ),
    }
    for reward in dict.fromkeys([*STUDY.members(TEMPERED), STUDY.gold]):
        files[f"scores/{reward}"] = LAYOUT.score_files(reward)
        for term in STUDY.terms(reward):
            files[f"files/{term}"] = LAYOUT.scoring_files(term)
    if STUDY.documents is not None:
        files["documents"] = shared("documents")
    return files


def tempered_reward(name):
    """A reward's or an ensemble's members as sums of terms."""
    ensemble = STUDY.ensembles.get(name)
    return {
        "terms": {member: STUDY.terms(member) for member in STUDY.members(name)},
        "ensemble": ensemble and ensemble.model_dump(),
    }


TEMPERED_TERMS = dict.fromkeys(
    term
    for reward in [*STUDY.members(TEMPERED), STUDY.gold]
    for term in STUDY.terms(reward)
)


rule tempered:
    input:
        unpack(tempered_inputs),
    output:
        table=results("tempered/{chunk}.parquet"),
    log:
        results("logs/tempered/{chunk}.log"),
    benchmark:
        results("benchmarks/tempered/{chunk}.tsv")
    wildcard_constraints:
        chunk=one_of(LAYOUT.chunks),
    priority: 25
    conda:
        ENVIRONMENT
    envmodules:
        *MODULES,
    threads: CORES
    resources:
        gpu=SAMPLERS,
        mem_mb=MEMORY.of("tempered"),
    params:
        p={
            "tempering": STUDY.tempered.model_dump(exclude={"reward"})
            | {"seed": STUDY.seed},
            "levels": results("tempered/levels"),
            "reward": tempered_reward(TEMPERED),
            "gold": None if TEMPERED == STUDY.gold else tempered_reward(STUDY.gold),
            "rewards": {
                term: LAYOUT.scoring_settings(term) for term in TEMPERED_TERMS
            },
            "model": STUDY.model.settings(),
            "sampling": STUDY.sampling.model_dump(exclude=STUDY.sampling.how_many),
            "template": STUDY.prompts.template,
        },
        code=code(
            "tempered.py",
            f"alignment_limits.sampling.{STUDY.sampling.engine}_engine",
            *dict.fromkeys(
                module
                for term in TEMPERED_TERMS
                if STUDY.rewards[term].kind != "trained"
                for module in LAYOUT.modules(term)
            ),
        ),
    script:
        "../scripts/tempered.py"


rule tempered_limit:
    input:
        **({"scales": results("ensembles/scales.parquet")} if STUDY.bounds else {}),
        shards=expand(results("tempered/{chunk}.parquet"), chunk=LAYOUT.chunks),
        standardised=results("ensembles/standardised.parquet"),
    output:
        table=results("limits/tempered.parquet"),
    log:
        results("logs/tempered_limit/tempered_limit.log"),
    benchmark:
        results("benchmarks/tempered_limit/tempered_limit.tsv")
    conda:
        ENVIRONMENT
    params:
        p={
            "optimized": TEMPERED,
            "gold": STUDY.gold,
            "kls": reaching(
                [kl for kl in STUDY.limits.kls if kl <= STUDY.tempered.kl]
                or [STUDY.tempered.kl],
                STUDY.tempered.kl,
            ),
            "bootstrap": STUDY.limits.bootstrap,
            "seed": STUDY.seed,
            **({"bounds": STUDY.bounds} if STUDY.bounds else {}),
        },
        code=code("tempered_limit.py"),
    script:
        "../scripts/tempered_limit.py"


TABLES += rules.tempered_limit.output
MADE += [*rules.tempered_limit.input.shards, *rules.tempered_limit.output]
