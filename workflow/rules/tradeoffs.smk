# in: samples, and the scores of a verifier that finds their answers; or a table of scores
# out: tradeoffs/columns.parquet (length and the like of each sample); tradeoffs/policy_columns.parquet (of policies'
#      replies). The estimators that read them are those of rules/limits.smk. With `closed_policies`: closed/<policy>/
#      replies.parquet and scores/<reward and its digest>.parquet; tradeoffs/closed_scores.parquet (all scores)
rule sample_columns:
    input:
        **(
            {
                "table": (
                    results("scores/imported.parquet")
                    if STUDY.scores.imported
                    else users(STUDY.scores.table)
                )
            }
            if STUDY.scores
            else {
                "samples": LAYOUT.shards("samples/{chunk}-{block}.parquet"),
                "verified": (
                    LAYOUT.score_files(STUDY.answered_by) if STUDY.answered_by else []
                ),
            }
        ),
    output:
        columns=results("tradeoffs/columns.parquet"),
    log:
        results("logs/sample_columns/sample_columns.log"),
    benchmark:
        results("benchmarks/sample_columns/sample_columns.tsv")
    localrule: True
    conda:
        ENVIRONMENT
    params:
        p={
            "refusals": STUDY.tradeoffs.refusals,
            "numbers": STUDY.tradeoffs.numbers,
            "texts": STUDY.tradeoffs.texts,
        },
        code=code("sample_columns.py"),
    script:
        "../scripts/sample_columns.py"


TABLES += rules.sample_columns.output
MADE += rules.sample_columns.output


if STUDY.all_policies:

    rule policy_columns:
        input:
            **{
                f"{policy.name}/samples": LAYOUT.policy_shards(
                    LAYOUT.kinds(policy_id)["samples"]
                )
                for policy_id, policy in LAYOUT.policies.items()
            },
        output:
            columns=results("tradeoffs/policy_columns.parquet"),
        log:
            results("logs/policy_columns/policy_columns.log"),
        benchmark:
            results("benchmarks/policy_columns/policy_columns.tsv")
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p={
                "policies": [policy.name for policy in STUDY.all_policies],
                "refusals": STUDY.tradeoffs.refusals,
            },
            code=code("policy_columns.py"),
        script:
            "../scripts/policy_columns.py"

    TABLES += rules.policy_columns.output
    MADE += rules.policy_columns.output


# replies that a user has of policies without log-probabilities, scored as the samples are
if STUDY.tradeoffs.closed_policies:
    CLOSED = by_file_name(STUDY.tradeoffs.closed_policies)
    CLOSED_SCORES = results("closed/{closed}/scores/{scorer}.parquet")

    wildcard_constraints:
        closed=one_of(CLOSED),

    # early, because it refuses what cannot be used
    rule read_replies:
        input:
            table=lambda w: users(STUDY.tradeoffs.closed_policies[CLOSED[w.closed]]),
            prompts=results("prompts.parquet"),
        output:
            replies=results("closed/{closed}/replies.parquet"),
        log:
            results("logs/read_replies/{closed}.log"),
        benchmark:
            results("benchmarks/read_replies/{closed}.tsv")
        priority: 100
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p=lambda w: {"name": CLOSED[w.closed]},
            code=code("read_replies.py"),
        script:
            "../scripts/read_replies.py"

    use rule score as closed_score with:
        input:
            samples=rules.read_replies.output.replies,
            prompts=results("prompts.parquet"),
            documents=lambda w: LAYOUT.documents_for(LAYOUT.scorers[w.scorer]),
            files=lambda w: LAYOUT.scoring_files(LAYOUT.scorers[w.scorer]),
        output:
            scores=CLOSED_SCORES,
        log:
            results("logs/closed_score/{closed}/{scorer}.log"),
        benchmark:
            results("benchmarks/closed_score/{closed}/{scorer}.tsv")

    use rule score_sum as closed_score_sum with:
        input:
            unpack(terms_in(CLOSED_SCORES)),
        output:
            scores=CLOSED_SCORES,
        log:
            results("logs/closed_score_sum/{closed}/{scorer}.log"),
        benchmark:
            results("benchmarks/closed_score_sum/{closed}/{scorer}.tsv")

    if LAYOUT.of_kind("trained"):

        use rule features as closed_features with:
            input:
                samples=rules.read_replies.output.replies,
                prompts=results("prompts.parquet"),
                files=lambda w: LAYOUT.fetched(LAYOUT.encoders[w.encoder].features),
            output:
                features=results("closed/{closed}/features/{encoder}.parquet"),
            log:
                results("logs/closed_features/{closed}/{encoder}.log"),
            benchmark:
                results("benchmarks/closed_features/{closed}/{encoder}.tsv")

        use rule score_trained as closed_score_trained with:
            input:
                features=lambda w: results(
                    f"closed/{w.closed}/features/{LAYOUT.encoder_id(LAYOUT.of_kind('trained')[w.scorer])}.parquet"
                ),
                head=shared("heads/{scorer}.safetensors"),
            output:
                scores=CLOSED_SCORES,
            log:
                results("logs/closed_score_trained/{closed}/{scorer}.log"),
            benchmark:
                results("benchmarks/closed_score_trained/{closed}/{scorer}.tsv")

    rule closed_scores:
        input:
            **{
                f"{name}/{reward}": CLOSED_SCORES.format(closed=file, scorer=scorer)
                for file, name in CLOSED.items()
                for scorer, reward in LAYOUT.scorers.items()
            },
        output:
            scores=results("tradeoffs/closed_scores.parquet"),
        log:
            results("logs/closed_scores/closed_scores.log"),
        benchmark:
            results("benchmarks/closed_scores/closed_scores.tsv")
        localrule: True
        conda:
            ENVIRONMENT
        params:
            p={
                "policies": list(STUDY.tradeoffs.closed_policies),
                "rewards": STUDY.reward_names,
            },
            code=code("closed_scores.py"),
        script:
            "../scripts/closed_scores.py"

    TABLES += rules.closed_scores.output
    MADE += [*rules.closed_scores.input, *rules.closed_scores.output]
