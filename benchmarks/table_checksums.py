"""Our seal (one SHA-256 of a file) compared with Parquet's page checksums: time, and which flipped bits each detects.

    .venv/bin/python benchmarks/table_checksums.py [--rows 10000000]

Both write and read a shard of scores (prompt_id, sample_id, score, truncated): all columns, and the scores alone. Then
every bit of a table of 64 rows is flipped. A reader detects a flip if it raises an error. An undetected flip is
harmless if the table and its metadata read as before, and wrong otherwise.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from alignment_limits.tables.artifacts import read_provenance, read_table, write_table
from alignment_limits.tables.schemas.samples import SCORES

SCORE = ["prompt_id", "sample_id", "score"]


def table(rows: int) -> pl.DataFrame:
    samples = 512 if rows >= 512 else 8
    prompts = rows // samples
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "prompt_id": np.repeat([f"{i:012x}" for i in range(prompts)], samples),
            "sample_id": np.tile(np.arange(samples, dtype=np.int32), prompts),
            "score": rng.normal(size=prompts * samples),
            "truncated": rng.random(prompts * samples) < 0.1,
        }
    )


def sealed_write(data, path):
    write_table(data, path, SCORES, {"study": "benchmark"})


def sealed_read(path, columns=None):
    provenance = read_provenance(path)  # checks the seal
    return pl.read_parquet(path, columns=columns), provenance


def paged_write(data, path):
    arrow = data.to_arrow().replace_schema_metadata({"alignment_limits": '{"study": "benchmark"}'})
    pq.write_table(arrow, path, compression="zstd", write_page_checksum=True)


def paged_read(path, columns=None):
    arrow = pq.read_table(path, columns=columns, page_checksum_verification=True)
    return pl.from_arrow(arrow), dict(arrow.schema.metadata)


def seconds(call, times: int = 3) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def flips(path: Path, read) -> tuple[int, int, int, int]:
    """Number of bits; of these detected, harmless, wrong."""
    content, (whole, metadata) = path.read_bytes(), read(path)
    other = path.with_name("flipped.parquet")
    counts = {"noticed": 0, "harmless": 0, "wrong": 0}
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        other.write_bytes(flipped)
        try:
            found, about = read(other)
        except (Exception, pl.exceptions.PanicException):
            counts["noticed"] += 1
            continue
        same = about == metadata and found.schema == whole.schema and found.equals(whole)
        counts["harmless" if same else "wrong"] += 1
    return 8 * len(content), *counts.values()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    big, small = table(rows), table(64)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "table.parquet")
        for name, write, read in (("seal", sealed_write, sealed_read), ("pages", paged_write, paged_read)):
            written = seconds(lambda write=write: write(big, file))
            everything = seconds(lambda read=read: read(file))
            scores = seconds(lambda read=read: read(file, SCORE))
            print(
                f"{name}: {rows:,} rows, {file.stat().st_size / 1e6:.0f} MB: write {written:.2f} s, read all "
                f"{everything:.2f} s, read {len(SCORE)} columns {scores:.2f} s, the score alone "
                f"{seconds(lambda read=read: read(file, ['score'])):.2f} s",
                flush=True,
            )
            write(small, file)
            bits, noticed, harmless, wrong = flips(file, read)
            print(
                f"{name}: of {bits:,} flipped bits {noticed:,} detected, {harmless:,} harmless, {wrong:,} wrong",
                flush=True,
            )
        write_table(big, file, SCORES, {"study": "benchmark"})
        print(f"read_table, with its checks of keys and types: {seconds(lambda: read_table(file, SCORES)):.2f} s")


if __name__ == "__main__":
    main()
