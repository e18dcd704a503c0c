"""Paths of a study's files: folders, shards, and the inputs of each reward and policy. Rules ask this object only.

Paths are relative to the project's folder. Patterns keep Snakemake's wildcards: {chunk}, {block}, {policy}, {scorer}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from alignment_limits.models.fetch import source_id
from alignment_limits.study.base import Source, by_file_name, file_name
from alignment_limits.study.rewards import InTable, Labelled, Sum
from alignment_limits.study.sampling import block_names, block_seed, chunk_names, chunk_size
from alignment_limits.study.study import Study
from alignment_limits.study.training import Run

SHARD = "{chunk}-{block}.parquet"
POLICY_FOLDER = "results/models/policies/{policy}"  # a plain model folder
READ_THE_BASE_MODEL = {"information-gain", "fine-tuned"}  # kinds that use it if no source is given


class Layout:
    """Files and names of one study, all derived from the study file.

    Example:
        >>> from alignment_limits.study.load import load_study
        >>> scores = {"table": "t.parquet", "gold": "human", "proxies": ["rm"]}
        >>> Layout(load_study({"study": "mine", "scores": scores}, "mine.yaml")).score_files("rm")
        ['results/mine/scores/rm/table.parquet']
    """

    def __init__(self, study: Study) -> None:
        self.study: Any = study  # absent sections are not asked for

    # Folders

    def results(self, path: str) -> str:
        """A file of this study."""
        return f"results/{self.study.study}/{path}"

    def shared(self, path: str) -> str:
        """A file shared by all studies with this model, these prompts, this sampling law and seed."""
        return f"results/shared/{self.study.base_id}/{path}"

    def of_policy(self, path: str) -> str:
        """A shared file of a policy."""
        return self.shared(f"policies/{{policy}}/{path}")

    @cached_property
    def sources(self) -> dict[str, Source]:
        """All sources to fetch, by the names of their folders."""
        return {source_id(source): source for source, _ in self._sources_and_users()}

    def _sources_and_users(self) -> Iterator[tuple[Source, Any]]:
        s = self.study
        policies = [*(s.policies or []), *(s.proposals or {}).values()]
        for user in [s.model, s.prompts, *s.rewards.values(), *policies, *self._readers_elsewhere]:
            for source in (getattr(user, name, None) for name in ("source", "features")):
                if source:
                    yield source, s.model if user in policies else user

    def fetching(self, name: str) -> dict[str, Any]:
        """Settings to fetch a source with; its code only if one of its users may run it."""
        trusted = {source_id(s) for s, user in self._sources_and_users() if getattr(user, "trust_remote_code", False)}
        return self.sources[name].model_dump() | ({"with_code": True} if name in trusted else {})

    def fetched(self, source: Source) -> str:
        """Folder of a fetched source, shared by all studies."""
        return f"results/models/fetched/{source_id(source)}"

    @property
    def base(self) -> str:
        """The base model's name in file names; for samples that exist, that of their table."""
        return file_name(self.study.model.name) if self.study.model else self.study.samples.name

    @property
    def model(self) -> str:
        """Folder of the base model, ready to load."""
        return f"results/models/{self.base}-{source_id(self.study.model.source)[-8:]}"

    def base_names(self) -> list[str]:
        """Names of the base model that an adapter's settings may contain: its folder here, and its source."""
        source = self.study.model.source
        origins = [source.hub, source.path, source.package, source.member]
        origins = [re.split("@|==", origin)[0] for origin in origins if origin]
        return [self.study.model.name, self.base, *(Path(name).name for name in [self.model, *origins])]

    # Prompts and shards

    @property
    def prompt_source(self) -> str:
        """Folder of the prompts' source; documents are first turned into prompts."""
        return self.shared("documents") if self.study.documents else self.fetched(self.study.prompts.source)

    @property
    def clusters(self) -> str:
        """The table whose column `cluster` marks prompts that are not independent."""
        return self.results("ensembles/clusters.parquet" if self.study.scores else "prompts.parquet")

    @cached_property
    def chunk(self) -> int:
        """Prompts per shard."""
        sampling = self.study.sampling
        return chunk_size(sampling.shard_tokens, sampling.block, sampling.max_new_tokens)

    @cached_property
    def chunks(self) -> list[str]:
        """Chunks of the study's prompts; of samples that exist, the parts of their table."""
        if self.study.samples:
            return chunk_names(self.study.samples.number, 1)
        return chunk_names(self.study.prompts.count, self.chunk)

    @cached_property
    def blocks(self) -> list[str]:
        """Blocks of the base's samples."""
        if self.study.samples:
            return block_names(1, 1)
        return self._blocks(self.study.sampling.samples_per_prompt)

    @cached_property
    def training_chunks(self) -> list[str]:
        """Chunks of the prompts after the study's own, for training: evaluation never uses them."""
        if not self.study.gold_labels:
            return []
        labelled = self.study.gold_labels.prompts
        return chunk_names(labelled, self.chunk, first=self.study.prompts.count)

    @property
    def policy_samples(self) -> int:
        """Samples of each policy, per prompt."""
        sampling = self.study.sampling
        return int(sampling.policy_samples_per_prompt or sampling.samples_per_prompt)

    @property
    def policy_seed(self) -> int:
        """One seed for all policies, so that they have common noise; the limit's samples have another seed."""
        return block_seed(self.study.seed, "policies", 0)

    @cache  # noqa: B019 (one layout per process; called often, with up to thousands of shards)
    def shards(self, pattern: str) -> list[str]:
        """All shared files of a pattern over the base's samples."""
        return list(self._filled(self.shared(pattern), self.chunks, self.blocks))

    def training_shards(self, pattern: str) -> list[str]:
        """All shared files of a pattern over the samples of the training prompts."""
        blocks = self._blocks(self.study.gold_labels.samples_per_prompt)
        return list(self._filled(self.shared(pattern), self.training_chunks, blocks))

    def policy_shards(self, folder: str) -> list[str]:
        """All shards in a folder of a policy."""
        return list(self._filled(f"{folder}/{SHARD}", self.chunks, self._blocks(self.policy_samples)))

    def on_base(self, policy: str) -> list[str]:
        """All shards of the base's samples with a policy's log-probabilities."""
        return list(
            self._filled(self.of_policy(f"on_base/{SHARD}").replace("{policy}", policy), self.chunks, self.blocks)
        )

    def on_policy(self, policy: str, other: str) -> list[str]:
        """All shards of another policy's samples with a policy's log-probabilities."""
        return self.policy_shards(self.shared(f"policies/{policy}/on/{other}"))

    def sampling_settings(self, block: int, seed: int, policy: str | None = None) -> dict[str, Any]:
        """Settings that decide a block of samples, without the number of samples and the layout of shards."""
        return {
            "model": self.study.model.settings(),
            "sampling": self.study.sampling.model_dump(exclude=self.study.sampling.how_many) | self.law(policy),
            "template": self.study.asked.template,
            "seed": seed,
            "block": block,
        }

    def links(self, links: dict[str, str], *, of_policies: bool = False) -> dict[str, Any]:
        """A study's view of shared shards: folders of links, the folders that they point to, and the shards."""
        samples, sampling = self.study.samples, self.study.sampling
        prompts = {"prompts": samples.number, "chunk": 1} if samples else {}
        prompts = prompts or {"prompts": self.study.prompts.count, "chunk": self.chunk}
        if samples and not of_policies:
            return {"links": links, **prompts, "samples_per_prompt": 1, "block": 1}
        each = self.policy_samples if of_policies else sampling.samples_per_prompt
        return {"links": links, **prompts, "samples_per_prompt": each, "block": sampling.block}

    @property
    def reading(self) -> dict[str, str]:
        """Settings of jobs that read replies again; empty for the default."""
        dtype = self.study.model.kl_dtype if self.study.model else "float32"
        return {"kl_dtype": dtype} if dtype != "float32" else {}

    @property
    def read_again(self) -> str:
        """The first shard with log-probabilities of a plain forward pass."""
        if self.study.samples:  # they are shared by studies that name another model
            return self.results("samples/read_again.parquet")
        return self.shared(f"read_again/{self.chunks[0]}-{self.blocks[0]}.parquet")

    # Rewards

    @cached_property
    def scorers(self) -> dict[str, str]:
        """Rewards by the id of all settings that decide their scores."""
        return {self.study.scorer_id(reward): reward for reward in self.study.rewards}

    def of_kind(self, kind: str) -> dict[str, Any]:
        """Settings of the rewards of one kind, by their id."""
        rewards = self.study.rewards
        return {scorer: rewards[name] for scorer, name in self.scorers.items() if rewards[name].kind == kind}

    @cached_property
    def given(self) -> list[str]:
        """Rewards that read texts: neither sums of others, nor trained on gold labels, nor columns of a table."""
        return [name for name, spec in self.study.rewards.items() if not isinstance(spec, (Labelled, Sum, InTable))]

    @cached_property
    def light(self) -> list[str]:
        """Word lists and linear models, by id: so fast that they are not jobs for a cluster."""
        return [scorer for scorer, name in self.scorers.items() if self.study.rewards[name].light]

    def is_neural(self, reward: str) -> bool:
        """Whether torch computes a reward, so that its jobs take a GPU where there is one."""
        return bool(self.study.rewards[reward].neural)

    @property
    def optimized(self) -> set[str]:
        """Rewards that the study trains policies on."""
        members = {member for run in self.study.runs for member in self.study.members(run.optimized)}
        return {term for member in members for term in self.study.terms(member)}

    def score_files(self, reward: str) -> list[str]:
        """All score shards of a reward."""
        if self.study.scores:
            return [self.results(f"scores/{file_name(reward)}/table.parquet")]
        return self.shards(f"scores/{self.study.scorer_id(reward)}/{SHARD}")

    def scoring(self, reward: str) -> Any:
        """Settings of a reward for scoring."""
        spec = self.study.rewards[reward]
        return spec.classifier if spec.kind == "fine-tuned" else spec

    def scoring_settings(self, reward: str) -> dict[str, Any]:
        """Settings to load a reward with, and the date for its chat template."""
        spec = self.scoring(reward)
        return dict(spec.model_dump(exclude=spec.decides_nothing) | self.study.dated(reward))

    def documents_for(self, reward: str) -> str | list[str]:
        """The documents, for rewards that read them or their references."""
        read = getattr(self.scoring(reward), "beside", "prompt") != "prompt"
        return self.shared("documents") if read else []

    def modules(self, reward: str) -> list[str]:
        """Modules that compute a reward: that of its kind, and a user's own."""
        from alignment_limits.rewards.load import module_of

        spec = self.scoring(reward)
        own = [module_of(spec.kind, spec.function)] if spec.kind == "python" else []
        return [module_of(spec.kind), *own]

    def source_files(self, spec: Any) -> str | list[str]:
        """Folder of a reward's source."""
        source = getattr(spec, "source", None)
        if source is None and spec.kind in READ_THE_BASE_MODEL:
            return self.model
        return self.fetched(source) if source else []

    def scoring_files(self, reward: str) -> str | list[str]:
        """The files that a reward needs: a folder; for a trained head, the encoder's folder and the head."""
        spec, scorer = self.study.rewards[reward], self.study.scorer_id(reward)
        if spec.kind == "fine-tuned":
            return self.shared(f"fine_tuned/{scorer}")
        if spec.kind == "trained":
            return [self.fetched(spec.features), self.shared(f"heads/{scorer}.safetensors")]
        return self.source_files(spec)

    def reads_with(self, reward: str) -> str:
        """The text that a reward reads with the reply; for a sum, the text of its terms (by default the prompt)."""
        read = {getattr(self.study.rewards[term], "beside", "prompt") for term in self.study.terms(reward)}
        return ", ".join(sorted(read - {"prompt"})) or "prompt"

    def experts_scores(self, scorer: str) -> str:
        """A reward's scores of experts' replies; studies with the same number of documents share them."""
        return self.shared(f"gold/{scorer}-p{self.study.prompts.count:05d}.parquet")

    # Features

    @property
    def _readers_elsewhere(self) -> list[Any]:
        sweep = self.study.gold_labels and self.study.gold_labels.sweep
        return [reader for reader in (sweep, self.study.preferences) if reader]

    @cached_property
    def encoders(self) -> dict[str, Any]:
        """Users of features of replies, by encoder and by the text it reads."""
        heads = [spec for spec in self.study.rewards.values() if spec.kind == "trained"]
        return {self.encoder_id(r): r for r in [*heads, *self._readers_elsewhere] if r.features is not None}

    def encoder_id(self, reader: Any) -> str:
        """Name of an encoder and of the text it reads."""
        return f"{source_id(reader.features)}-{reader.text.replace('+', '-')}"

    def feature_shards(self, reader: Any, *, training: bool = False) -> list[str]:
        """Shards of features from one of `encoders`, of the study's samples or of the training samples."""
        pattern = f"features/{self.encoder_id(reader)}/{SHARD}"
        return self.training_shards(pattern) if training else self.shards(pattern)

    @property
    def gold_labels(self) -> list[str]:
        """Shards of gold's scores of the training samples."""
        return self.training_shards(f"scores/{self.study.scorer_id(self.study.gold)}/{SHARD}")

    # Policies

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Training runs by the id of all settings that decide their weights."""
        return {self.study.policy_id(run): run for run in self.study.runs}

    @cached_property
    def policies(self) -> dict[str, Any]:
        """All policies by the id of all settings that decide their weights."""
        return {self.study.policy_id(policy): policy for policy in self.study.all_policies}

    def policy_files(self, policy: str) -> str:
        """The origin of a policy: its source, or its training."""
        if policy in self.runs:
            return self.shared(f"training/{policy}/model")
        return self.fetched(self.policies[policy].source)

    def proposal(self, policy: str) -> dict[str, Any]:
        """Settings of a proposal; empty for a policy that is none."""
        found = getattr(self.policies[policy], "proposal", None)
        return found.model_dump(exclude_none=True) if found else {}

    def policy_folder(self, policy: str) -> str:
        """The plain model folder of a policy; the base's for proposals without an adapter."""
        spec = self.policies[policy]
        return self.model if policy not in self.runs and spec.source is None else POLICY_FOLDER.format(policy=policy)

    def policy_prompts(self, policy: str, chunk: str) -> str:
        """Prompts as a policy reads them."""
        own = f"policies/{policy}/prompts" if "system" in self.proposal(policy) else "prompts"
        return self.shared(f"{own}/{chunk}.parquet")

    def law(self, policy: str | None = None) -> dict[str, float]:
        """Temperature and top-p of a policy's replies; of the base's."""
        sampling, own = self.study.sampling, self.proposal(policy) if policy else {}
        return {name: own.get(name, getattr(sampling, name)) for name in ("temperature", "top_p")}

    @property
    def brought(self) -> dict[str, str]:
        """Folders of policies that can be checked before anything is sampled, by the policy's name."""
        there = {p: s.name for p, s in self.policies.items() if p not in self.runs and s.source is not None}
        return {name: POLICY_FOLDER.format(policy=policy) for policy, name in there.items()}

    def kinds(self, policy: str) -> dict[str, str]:
        """Folders of a policy's shards, by their names in the study."""
        folder = self.shared(f"policies/{policy}")
        scores = {f"scores/{r}": f"{folder}/scores/{self.study.scorer_id(r)}" for r in self.study.rewards}
        return {"samples": f"{folder}/samples", "kl": f"{folder}/kl"} | scores

    @cached_property
    def shown(self) -> dict[str, str]:
        """Rewards for the figures of policies, by file name: gold, and the rewards they were trained on."""
        return by_file_name(
            {self.study.gold} | {p.optimized for p in self.study.all_policies if p.optimized is not None}
        )

    # An enumerable study

    def every(self, path: str) -> str:
        """A shared file about all replies to all prompts."""
        return self.shared(f"enumerable/{self.study.enumerable.population}/{path}")

    @property
    def every_prompt(self) -> str:
        """The chunk that contains all prompts."""
        return self.shared(f"prompts/p00000-{self.study.enumerable.population:05d}.parquet")

    def _blocks(self, samples: int) -> list[str]:
        return block_names(samples, self.study.sampling.block)

    @staticmethod
    def _filled(pattern: str, chunks: Sequence[str], blocks: Sequence[str]) -> Iterator[str]:
        for chunk in chunks:
            for block in blocks:
                yield pattern.replace("{chunk}", chunk).replace("{block}", block)
