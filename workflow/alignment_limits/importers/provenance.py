"""The provenance verdict: whether samples from elsewhere are a sample of one law, and what speaks against it."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from alignment_limits.importers.findings import FEW, LEFT_OUT, MOST_FEW, MOST_LOST, Finding, found

LAW, SCORE = "law.", "score."  # prefixes of columns
_MIXED = {"model": "several-models", "step": "several-steps", "filter": "several-filters", "law": "several-laws"}
_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "system")
_SHOWN = 3
_LONG = 20  # characters: equal replies of more are not a coincidence
_SMALL = -5.0  # log-probabilities below it rarely are equal
_CLEAR = 5.0  # expected prompts with equal scores from which their absence is not a coincidence: exp(-5) < 1 %


def verdict(samples: pl.DataFrame, facts: Mapping[str, str], *, first: bool = False) -> list[Finding]:
    """All findings about samples.

    Args:
        samples: a row per sample or failed request: prompt_id, prompt, text, error, file, row, failed, shared,
            finish_reason, token_ids, logprobs (lists), score.<name>, law.<field>; in the order of the files.
        facts: findings that are true of every file of the format, with what is known.
        first: the samples are the first ones of more.

    Returns:
        Refused findings first.
    """
    tokens = pl.col("token_ids").cast(pl.List(pl.String)).list.join(" ")
    drawn = samples.filter(pl.col("error").is_null()).with_columns(reply=pl.coalesce("text", tokens))
    facts = dict(facts)
    if "dropped-prompts" in facts and _has_equal_scores(drawn):
        del facts["dropped-prompts"]  # this file was written without the filter
    checks = [
        _laws(drawn),
        _settings(drawn, facts),
        _prompts(drawn),
        _replies(samples, drawn),
        _scores(drawn, first),
        _log_probabilities(drawn),
        (found(name, what, drawn.height, drawn.height) for name, what in facts.items()),
    ]
    findings = [finding for check in checks for finding in check]
    return sorted(findings, key=lambda finding: finding.severity != "refused")


def is_one_law(findings: Sequence[Finding]) -> bool:
    """Whether nothing was found that makes the samples anything but a sample of one law."""
    return not any(finding.severity == "refused" for finding in findings)


def _laws(drawn: pl.DataFrame) -> Iterator[Finding]:
    for column in (c for c in drawn.columns if c.startswith(LAW)):
        field = column.removeprefix(LAW)
        values = drawn[column].fill_null("(not stated)").value_counts(sort=True)
        if values.height < 2 or field in _SETTINGS:
            continue
        shown = tuple(f"{value}: {count}" for value, count in values.head(_SHOWN).iter_rows())
        if field == "origin":
            count = drawn.filter(pl.col(column) != "model").height
            yield found(
                "reference-replies", f"{count} of {drawn.height} replies are not the model's", count, drawn.height
            )
            continue
        per_prompt = drawn.group_by("prompt_id").agg(pl.col(column).n_unique() > 1)[column].sum()
        what = f"{values.height} values of {field}; {per_prompt} prompts have replies of several"
        name = _MIXED.get(field, "several-laws")
        yield found(name, what, values.height, drawn.height, shown)


def _settings(drawn: pl.DataFrame, facts: Mapping[str, str]) -> Iterator[Finding]:
    stated = {s: drawn[LAW + s] for s in _SETTINGS if LAW + s in drawn.columns and drawn[LAW + s].count()}
    mixed = {s: values.fill_null("(not stated)").value_counts(sort=True) for s, values in stated.items()}
    mixed = {s: counts for s, counts in mixed.items() if counts.height > 1}
    if mixed:
        shown = tuple(f"{s}: {', '.join(map(str, counts[LAW + s].head(_SHOWN)))}" for s, counts in mixed.items())
        yield found("several-settings", f"{', '.join(mixed)} differ between replies", len(mixed), drawn.height, shown)
    if "temperature" in stated and (stated["temperature"] == "0").all():
        yield found("greedy", "the temperature is 0", drawn.height, drawn.height)
    usual = {"temperature": ("1",), "top_p": ("1",), "top_k": ("0", "-1"), "min_p": ("0",)}
    cut = {s: values.drop_nulls().unique().sort() for s, values in stated.items() if s in usual}
    cut = {s: values for s, values in cut.items() if not values.is_in(list(usual[s])).all()}
    if cut:
        what = ", ".join(f"{s} {', '.join(values.head(_SHOWN))}" for s, values in cut.items())
        yield found("truncated-law", what, drawn.height, drawn.height)
    if "temperature" not in stated and "truncated-law" not in facts:
        yield found("unknown-settings", "temperature and top-p are not in the file", drawn.height, drawn.height)
    if LAW + "model" not in drawn.columns and "selected-replies" not in facts:
        yield found("unknown-model", "the model is not named", drawn.height, drawn.height)


def _prompts(drawn: pl.DataFrame) -> Iterator[Finding]:
    counts = drawn.group_by("prompt_id", maintain_order=True).len()
    prompts, sizes = counts.height, counts["len"]
    few = counts.filter(pl.col("len") < FEW)
    if few.height or (sizes < LEFT_OUT).any():
        below = counts.filter(pl.col("len") < LEFT_OUT).height
        what = f"{few.height} of {prompts} prompts have fewer than {FEW} replies, {below} fewer than {LEFT_OUT}"
        refuse = few.height > MOST_FEW * prompts
        yield found("few-replies", what, few.height, prompts, _first(few["prompt_id"]), refuse)
    if sizes.n_unique() > 1:
        each = sizes.to_list()
        what = f"from {min(each)} to {max(each)} samples a prompt, median {statistics.median(each):g}"
        yield found("unequal-counts", what, prompts, prompts)
    texts = drawn.filter(pl.col("prompt").is_not_null()).unique(["prompt_id", "prompt"], maintain_order=True)
    ids = texts.group_by("prompt_id", maintain_order=True).len().filter(pl.col("len") > 1)
    if ids.height:
        what = f"{ids.height} of {prompts} ids have several prompts"
        yield found("one-id-several-prompts", what, ids.height, prompts, _first(ids["prompt_id"]))
    same = texts.filter(pl.col("prompt").is_duplicated())
    if same.height and not ids.height:
        what = f"{same.height} of {prompts} prompts have the text of another one"
        yield found("repeated-prompts", what, same.height, prompts, _first(same["prompt_id"]))


def _replies(samples: pl.DataFrame, drawn: pl.DataFrame) -> Iterator[Finding]:
    lost = samples.filter(pl.col("error").is_not_null())
    if lost.height:
        reasons = lost["error"].value_counts(sort=True).head(_SHOWN)
        what = f"{lost.height} of {samples.height} requests have no reply"
        shown = tuple(f"{reason[:80]}: {count}" for reason, count in reasons.iter_rows())
        yield found("errors", what, lost.height, samples.height, shown, lost.height > MOST_LOST * samples.height)
    empty = drawn.filter(pl.col("text").str.strip_chars() == "").height
    if empty:
        yield found("empty-replies", f"{empty} of {drawn.height} replies", empty, drawn.height)
    cut = drawn.filter(pl.col("finish_reason").is_in(["length", "max_tokens", "model_length"])).height
    if cut:
        yield found("cut-replies", f"{cut} of {drawn.height} replies", cut, drawn.height)
    alike = drawn.group_by("prompt_id", maintain_order=True).agg(pl.len(), pl.col("reply").n_unique().alias("texts"))
    several = alike.filter(pl.col("len") > 1)
    same = several.filter(pl.col("texts") == 1)
    if same.height:
        what = f"{same.height} of {several.height} prompts with several replies have only one text"
        yield found("identical-replies", what, same.height, several.height, _first(same["prompt_id"]))
        if 2 * same.height > several.height and several.height >= FEW:
            yield found("greedy", what, same.height, several.height)
    yield from _repeated_groups(drawn)


def _repeated_groups(drawn: pl.DataFrame) -> Iterator[Finding]:
    """Replies to a prompt that occur again, all of them: in another file, at another step, or in the same place."""
    places = [LAW + "step"] if LAW + "step" in drawn.columns else ["file"]
    groups = drawn.group_by(["prompt_id", *places], maintain_order=True).agg(
        pl.col("reply").sort(),
        pl.len().alias("size"),
        pl.col("reply").str.len_chars().mean().alias("length"),
        pl.col("reply").unique_counts().min().alias("fewest"),
        pl.col("reply").unique_counts().max().alias("most"),
    )
    groups = groups.filter((pl.col("size") > 1) & (pl.col("length") > _LONG))
    groups = groups.with_columns(pl.col("reply").list.join("\0").map_elements(_digest, pl.String).alias("digest"))
    # three different replies or more, each as often as the others: the rows are there more than once
    copied = (pl.col("fewest") > 1) & (pl.col("fewest") == pl.col("most")) & (pl.col("size") >= 3 * pl.col("most"))
    again = groups.filter(pl.struct("prompt_id", "digest").is_duplicated() | copied)
    if again.height:
        what = f"{again.height} of {groups.height} groups of replies occur again"
        yield found("repeated-groups", what, again.height, groups.height, _first(again["prompt_id"].unique()))


def _scores(drawn: pl.DataFrame, first: bool) -> Iterator[Finding]:
    for column in (c for c in drawn.columns if c.startswith(SCORE)):
        name = column.removeprefix(SCORE)
        missing = drawn[column].null_count()
        failed = drawn.filter(pl.col("failed").list.contains(name)).height
        shared = drawn.filter(pl.col("shared").list.contains(name)).height
        if failed:
            what, refuse = f"{failed} of {drawn.height} judgements of '{name}'", failed > MOST_LOST * drawn.height
            yield found("failed-judgements", what, failed, drawn.height, (), refuse)
        if shared:
            yield found("shared-scores", f"'{name}' of {shared} of {drawn.height} replies", shared, drawn.height)
        if missing > failed + shared:
            count = missing - failed - shared
            yield found("unscored", f"'{name}' is missing for {count} of {drawn.height} replies", count, drawn.height)
        scored = drawn.filter(pl.col(column).is_not_null())
        spread = scored.group_by("prompt_id").agg(pl.col(column).max() - pl.col(column).min(), pl.len())
        several = spread.filter(pl.col("len") > 1)
        if several.height and (several[column] == 0).all():
            yield found("constant-scores", f"'{name}'", several.height, several.height)
            continue
        yield from _sorted(scored, column, first)
        yield from _dropped(scored, column)


def _has_equal_scores(drawn: pl.DataFrame) -> bool:
    """Whether the replies to some prompt, at one step, all have the same scores."""
    names = [c for c in drawn.columns if c.startswith(SCORE)]
    places = [c for c in (LAW + "step",) if c in drawn.columns]
    groups = drawn.group_by("prompt_id", *places).agg(pl.len(), *(pl.col(c).n_unique() for c in names))
    equal = pl.all_horizontal(pl.col(c) == 1 for c in names) if names else pl.lit(False)
    return groups.filter((pl.col("len") > 1) & equal).height > 0


def _sorted(scored: pl.DataFrame, column: str, first: bool) -> Iterator[Finding]:
    """Whether a prompt's samples are in the order of their scores, for most prompts with 8 different scores or more."""
    steps = scored.group_by("prompt_id", maintain_order=True).agg(
        (pl.col(column).diff().drop_nulls() >= 0).all().alias("up"),
        (pl.col(column).diff().drop_nulls() <= 0).all().alias("down"),
        pl.col(column).n_unique().alias("values"),
    )
    steps = steps.filter(pl.col("values") >= 8)
    rising = steps.filter(pl.col("up") | pl.col("down"))
    if 2 * rising.height > steps.height:
        what = f"by '{column.removeprefix(SCORE)}', for {rising.height} of {steps.height} prompts"
        yield found("sorted-samples", what, rising.height, steps.height, (), first)


def _dropped(scored: pl.DataFrame, column: str) -> Iterator[Finding]:
    """Whether prompts whose replies all have the same score were left out, for a score with two values."""
    values = scored[column].unique()
    if len(values) != 2:
        return
    counts = scored.group_by("prompt_id").agg(pl.len().alias("k"), (pl.col(column) == values.max()).sum().alias("n"))
    k = int(counts["k"].mode().sort()[-1])
    n = counts.filter(pl.col("k") == k)["n"]
    expected = expected_extremes([int((n == j).sum()) for j in range(k + 1)])
    seen = int(((n == 0) | (n == k)).sum())
    if not seen and expected > _CLEAR:
        what = (
            f"no prompt has the same '{column.removeprefix(SCORE)}' for all {k} replies; at least {expected:.0f} should"
        )
        yield found("dropped-prompts", what, math.floor(expected), len(n))


def expected_extremes(counts: Sequence[int]) -> float:
    """A lower bound on the expected number of prompts with no success or only successes.

    With any distribution of success rates, E[q^k] E[p² q^(k-2)] >= E[p q^(k-1)]² (Cauchy-Schwarz). So the numbers of
    prompts with one and two successes bound the number with none. They are lowered and raised by two standard errors.

    Args:
        counts: numbers of prompts with 0, 1, …, k successes of k.

    Example:
        >>> round(expected_extremes([0, 40, 30, 20, 10, 5, 3, 2, 0]), 1)
        7.8
    """
    k = len(counts) - 1
    if k < FEW:
        return 0.0

    def bound(one: int, two: int) -> float:
        low, high = max(one - 2 * math.sqrt(one), 0.0), two + 2 * math.sqrt(two) + 1
        return low * low * (k - 1) / (2 * k * high)

    return bound(counts[1], counts[2]) + bound(counts[k - 1], counts[k - 2])


def _log_probabilities(drawn: pl.DataFrame) -> Iterator[Finding]:
    if count := drawn["token_ids"].null_count():
        yield found("retokenised", f"{count} of {drawn.height} replies have no token ids", count, drawn.height)
    broken = drawn.select(unusable_logprobs(drawn)).sum().row(0, named=True)
    for name, count in broken.items():
        if count:
            yield found(name, f"of {count} of {drawn.height} replies", count, drawn.height)


def unusable_logprobs(drawn: pl.DataFrame) -> list[pl.Expr]:
    """For each kind of unusable log-probabilities, which samples have them.

    Clipped are those at −9999, which servers write for minus infinity, and those at a lowest value that occurs often.
    """
    each = pl.col("logprobs").list
    values = drawn["logprobs"].explode().drop_nulls()
    finite = values.filter(values.is_finite())
    lowest = finite.min() if len(finite) else None
    clip = -9999.0
    if isinstance(lowest, float) and lowest < _SMALL and int((finite == lowest).sum()) >= FEW:
        clip = lowest
    infinite = each.eval(~pl.element().is_finite()).list.any().fill_null(False)
    clipped = each.eval(pl.element() <= clip).list.any().fill_null(False) & ~infinite
    lengths = (each.len() != pl.col("token_ids").list.len()).fill_null(False)
    wrong = each.eval(pl.element() > 1e-4).list.any().fill_null(False) | lengths
    return [infinite.alias("infinite-logprobs"), clipped.alias("clipped-logprobs"), wrong.alias("wrong-logprobs")]


def _first(values: pl.Series) -> tuple[str, ...]:
    return tuple(str(value)[:60] for value in values.head(_SHOWN))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
