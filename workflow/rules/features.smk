# in: samples, prompts, the encoders' files
# out: features/<encoder>/<chunk>-<block>.parquet (shared): what heads and fitted rewards see of a reply
def feature_shards(reader, of):
    """Shards of the features that one of READERS reads; `of` is shards or training_shards."""
    return of(f"features/{encoder_id(reader)}/{{chunk}}-{{block}}.parquet")


def encoder_id(reader):
    """Name of an encoder and of what it reads."""
    return f"{source_id(reader.features)}-{reader.text.replace('+', '-')}"


READERS = [reward for reward in STUDY.rewards.values() if reward.kind == "trained"]
if STUDY.gold_labels is not None and STUDY.gold_labels.sweep is not None:
    READERS.append(STUDY.gold_labels.sweep)
if STUDY.preferences is not None and STUDY.preferences.features is not None:
    READERS.append(STUDY.preferences)
ENCODERS = {encoder_id(reader): reader for reader in READERS}


rule features:
    input:
        samples=shared("samples/{chunk}-{block}.parquet"),
        prompts=shared("prompts/{chunk}.parquet"),
        files=lambda w: fetched(ENCODERS[w.encoder].features),
    output:
        features=shared("features/{encoder}/{chunk}-{block}.parquet"),
    log:
        results("logs/features/{encoder}/{chunk}-{block}.log"),
    benchmark:
        results("benchmarks/features/{encoder}/{chunk}-{block}.tsv")
    wildcard_constraints:
        encoder=one_of(ENCODERS),
    priority: 20
    envmodules:
        *MODULES,
    params:
        p=lambda w: {"text": ENCODERS[w.encoder].text},
        code=code("features.py"),
    script:
        "../scripts/features.py"
