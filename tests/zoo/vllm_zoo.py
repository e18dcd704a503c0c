"""All of the zoo through vLLM in this one process.

    python vllm_zoo.py OUT FOLDER …

writes OUT/NAME.TEMPLATE.parquet for each model folder, or the refusal into OUT/NAME.refused.
"""

import sys
from pathlib import Path

import test_zoo_sampling as zoo

from alignment_limits.errors import SamplingError
from alignment_limits.sampling import shard
from alignment_limits.sampling.vllm_engine import VllmEngine

KEPT = {}  # the engine of the model that is read now; its start takes the time


def engine(folder, model, sampling, context, threads):
    """One engine for both templates of a model: settings reach vLLM with each request."""
    if folder not in KEPT:
        KEPT.clear()
        KEPT[folder] = VllmEngine(folder, model, sampling, 128, threads)
    KEPT[folder]._sampling = sampling
    return KEPT[folder]


def main(out: Path, folders: list[Path]) -> None:
    shard.engine_class = lambda name: engine
    for folder in folders:
        try:
            for template in zoo.LAWS:
                table = zoo.sampled(folder, template, engine="vllm", n=32)
                table.write_parquet(out / f"{folder.name}.{template}.parquet")
        except SamplingError as error:
            (out / f"{folder.name}.refused").write_text(str(error), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
