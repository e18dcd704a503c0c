"""Does a policy share the base's tokenizer and vocabulary? Only then is KL(π‖π₀) a sum over tokens."""

from __future__ import annotations

from pathlib import Path

from alignment_limits.errors import ModelError, SourceError
from alignment_limits.models.ends import load_config, stop_tokens
from alignment_limits.models.tokenizer import load_tokenizer

# Case, digits, white space, accents, scripts and a symbol beyond the basic plane: where tokenizers differ.
PROBES = (
    "Hello, World! It's 12345.67 — don't?",
    "  two spaces,\ta tab\n\nand lines  ",
    "Grüße aus Köln, 你好, Привет 😀",
    "def f(x):\n    return x ** 2  # code",
)


def check_tokenizer(own: Path, base: Path, name: str, trust_remote_code: bool = False) -> list[str]:
    """Compare a policy's own tokenizer, if it has one, with the base's.

    Returns:
        what of the policy's own is not used: stop tokens or a chat template that differ.

    Raises:
        SourceError: the tokenizers differ.
    """
    ours = load_tokenizer(base, trust_remote_code)
    if not any((own / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        return ["it brings no tokenizer: the base's is taken for its own"]
    try:
        theirs = load_tokenizer(own, trust_remote_code)
    except ModelError as error:
        raise SourceError(f"policy '{name}': {error}") from error
    _same_tokens(theirs.get_vocab(), ours.get_vocab(), name)
    for probe in PROBES:
        if theirs(probe)["input_ids"] != ours(probe)["input_ids"]:
            raise SourceError(
                f"policy '{name}' has the base's tokens, but splits text differently ({probe[:20]!r}); a policy must "
                "have the base's tokenizer"
            )
    unused = []
    stops = stop_tokens(own, theirs), stop_tokens(base, ours)
    # a folder without settings for generation has no stop tokens of its own but the tokenizer's
    if stops[0] != stops[1] and ((own / "generation_config.json").is_file() or not set(stops[0]) <= set(stops[1])):
        unused.append(f"it stops at tokens {stops[0]}, the base at {stops[1]}: replies end where the base's do")
    if theirs.chat_template not in (None, ours.chat_template):
        unused.append("its chat template differs from the base's, which is used")
    return unused


def _same_tokens(theirs: dict[str, int], ours: dict[str, int], name: str) -> None:
    if theirs == ours:
        return
    more, fewer = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
    moved = sorted(t for t in set(theirs) & set(ours) if theirs[t] != ours[t])
    parts = [
        f"{len(group)} {what} such as {group[0]!r}"
        for group, what in ((more, "tokens the base lacks"), (fewer, "fewer"), (moved, "with other ids"))
        if group
    ]
    remedy = "a policy must have the base's tokenizer"
    if more and not fewer and not moved and len(more) < 10:
        remedy += "; train it without adding tokens (a padding token, say), or take them out again"
    raise SourceError(f"policy '{name}' has another tokenizer than the base ({'; '.join(parts)}); {remedy}")


def check_width(ready: Path, base: Path, name: str, trust_remote_code: bool = False) -> str | None:
    """Both models predict the same tokens: all that have a text, and the rows behind them that both have.

    Vocabularies are often padded to a round number of rows, which have no text, or cut to the tokenizer's length in
    training. A policy with fewer rows than the base gives those it lacks no probability, and its KL is a sum over the
    rows that it has. One with more is cut to the base's (`assemble`): the base could never say what is cut.

    Returns:
        what is to be said of a width that differs; None: it does not.

    Raises:
        SourceError: one of them lacks a row for a token that has a text.
    """
    policy, own = (_rows(folder, trust_remote_code) for folder in (ready, base))
    needed = max(load_tokenizer(base, trust_remote_code).get_vocab().values()) + 1
    if policy == own:
        return None
    if min(policy, own) < needed:
        raise SourceError(
            f"policy '{name}' predicts {policy} tokens, the base {own}, and the tokenizer has {needed}: another "
            "vocabulary, or embeddings that were resized in training; a policy must have the base's"
        )
    return (
        f"it predicts {policy} tokens, the base {own}; the tokenizer has {needed}, and the further ones have no text: "
        f"the KL is over the {min(policy, own)} that both have"
    )


def _rows(folder: Path, trust_remote_code: bool) -> int:
    return int(load_config(folder, trust_remote_code).get_text_config().vocab_size)
