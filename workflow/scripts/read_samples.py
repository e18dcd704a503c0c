"""Read a few replies of the first shard again: the engine must sample the distribution that is measured later."""

from alignment_limits.jobs.leases import prepare

prepare(snakemake)  # before torch is imported

from dataclasses import asdict
from pathlib import Path

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.policies.kl import SamplingLaw, read_again
from alignment_limits.sampling.checks import check_deviation, deviation
from alignment_limits.sampling.elsewhere import check_drawn_by
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import PROMPTS, READ_AGAIN, SAMPLES

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    samples, prompts = read_table(files.samples, SAMPLES), read_table(files.prompts, PROMPTS)
    law = SamplingLaw(p["temperature"], p["top_p"])
    options = {"template": p["template"], "trust_remote_code": p["trust_remote_code"]}
    options |= {"dtype": p.get("kl_dtype", "float32")}
    rounded = p.get("kl_dtype", p["dtype"])
    table = read_again(samples, prompts, Path(files.model), law, **options)
    known = table.drop_nulls("logprob")
    apart = deviation(known["logprob"], known["logprob_read"], known["n_tokens"])
    if not known.height:
        say("the samples have no log-probabilities, so nothing shows whether this model drew them")
    elif p.get("elsewhere"):
        check_drawn_by(apart, rounded, p["model"])
    else:
        check_deviation(apart, rounded, f"base model {p['model']}")
    if known.height:
        say(f"{apart.replies} replies read again: log-probabilities differ by at most {apart.largest:.1g} nats a reply")
    more = {"run": {"deviation": asdict(apart)}, "source": {"samples_sha256": file_sha256(files.samples)}}
    write_table(table, snakemake.output.read, READ_AGAIN, provenance(snakemake, ["torch", "transformers"], **more))
