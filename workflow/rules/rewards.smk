# in: sample shards and a reward's fetched files
# out: scores/<reward>/<chunk>-<block>.parquet; preflight/<reward>.json says the reward can be trusted
from alignment_limits.rewards.load import module_of

SUMMARY = results("samples/summary.parquet")


def score_files(reward):
    """All score shards of a reward."""
    return shards(f"scores/{reward}/{{chunk}}-{{block}}.parquet")


def of_the_start():
    """Tables for the study card and further targets that only this kind of start has."""
    tables = [results("prompts.parquet"), SUMMARY]
    # one shard of each kind, for the versions that made it
    tables += [results(f"samples/{BASE}/{CHUNKS[0]}-{BLOCKS[0]}.parquet")]
    tables += [score_files(reward)[0] for reward in STUDY.rewards]
    targets = [results("preflight/sampling.json"), results("preflight/rewards.json")]
    if STUDY.report.show_samples:
        targets.append(results("report/samples.html"))
    return tables, targets


def reward_files(wildcards):
    source = getattr(STUDY.rewards[wildcards.reward], "source", None)
    return fetched(source) if source else []


def reward_code(script):
    """The script's closure, the module its reward's kind is loaded from, and a user's own module."""

    def fingerprint(wildcards):
        spec = STUDY.rewards[wildcards.reward]
        modules = [module_of(spec.kind)]
        if spec.kind == "python":
            own = Path(spec.function.split(":")[0].replace(".", "/") + ".py")
            modules += [str(own)] if own.is_file() else []
        return code(script, *modules)

    return fingerprint


def reward_settings(wildcards):
    spec = STUDY.rewards[wildcards.reward]
    return {"reward": wildcards.reward, "spec": spec.model_dump(exclude={"note"})}


rule preflight_reward:
    input:
        files=reward_files,
    output:
        passed=results("preflight/{reward}.json"),
    log:
        results("logs/preflight_reward/{reward}.log"),
    wildcard_constraints:
        reward="|".join(map(re.escape, STUDY.rewards)),
    priority: 100
    params:
        p=reward_settings,
        code=reward_code("preflight_reward.py"),
    script:
        "../scripts/preflight_reward.py"


rule preflight_rewards:
    input:
        passed=expand(results("preflight/{reward}.json"), reward=STUDY.rewards),
    output:
        passed=results("preflight/rewards.json"),
    log:
        results("logs/preflight_rewards/rewards.log"),
    priority: 100
    params:
        p={"rewards": list(STUDY.rewards)},
        code=code("preflight_rewards.py"),
    script:
        "../scripts/preflight_rewards.py"


rule score:
    input:
        samples=results(f"samples/{BASE}/{{chunk}}-{{block}}.parquet"),
        prompts=results("prompts/{chunk}.parquet"),
        files=reward_files,
    output:
        scores=results("scores/{reward}/{chunk}-{block}.parquet"),
    log:
        results("logs/score/{reward}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/score/{reward}/{chunk}-{block}.tsv")
    wildcard_constraints:
        reward="|".join(map(re.escape, STUDY.rewards)),
    priority: 20
    params:
        p=reward_settings,
        code=reward_code("score.py"),
    script:
        "../scripts/score.py"
