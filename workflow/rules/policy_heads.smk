# in: policies' samples, prompts, the encoders' files, trained heads
# out: policies/<policy and its digest>/features/<encoder>/<chunk>-<block>.parquet, and the heads' scores (all shared)
use rule features as policy_features with:
    input:
        samples=LAYOUT.of_policy("samples/{chunk}-{block}.parquet"),
        prompts=shared("prompts/{chunk}.parquet"),
        files=lambda w: LAYOUT.fetched(LAYOUT.encoders[w.encoder].features),
    output:
        features=LAYOUT.of_policy("features/{encoder}/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_features/{policy}/{encoder}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_features/{policy}/{encoder}/{chunk}-{block}.tsv")


use rule score_trained as policy_score_trained with:
    input:
        features=lambda w: LAYOUT.of_policy(
            "features/{encoder}/{chunk}-{block}.parquet"
        ).format(encoder=LAYOUT.encoder_id(LAYOUT.of_kind("trained")[w.scorer]), **w),
        head=shared("heads/{scorer}.safetensors"),
    output:
        scores=LAYOUT.of_policy("scores/{scorer}/{chunk}-{block}.parquet"),
    log:
        results("logs/policy_score_trained/{policy}/{scorer}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/policy_score_trained/{policy}/{scorer}/{chunk}-{block}.tsv")
