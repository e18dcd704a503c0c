"""Does a policy share the base's tokenizer and vocabulary? Only then is KL(π‖π₀) a sum over tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alignment_limits.errors import SourceError
from alignment_limits.sampling import tokens

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
    ours = tokens.load_tokenizer(base, trust_remote_code)
    if not any((own / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        return ["it brings no tokenizer: the base's is taken for its own"]
    try:
        theirs = tokens.load_tokenizer(own, trust_remote_code)
    except (OSError, ValueError) as error:
        raise SourceError(f"policy '{name}': its tokenizer cannot be loaded: {error}") from error
    _same_tokens(theirs.get_vocab(), ours.get_vocab(), name)
    for probe in PROBES:
        if theirs(probe)["input_ids"] != ours(probe)["input_ids"]:
            raise SourceError(
                f"policy '{name}' has the base's tokens, but splits text differently ({probe[:20]!r}); a policy must "
                "have the base's tokenizer"
            )
    unused = []
    stops = tokens.stop_ids(own, theirs), tokens.stop_ids(base, ours)
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


def check_width(ready: Path, base: Path, name: str, trust_remote_code: bool = False) -> None:
    """Both models predict the same number of tokens.

    Raises:
        SourceError: they do not.
    """
    from transformers import AutoConfig

    def width(folder: Path) -> Any:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        return config.get_text_config().vocab_size

    if width(ready) != width(base):
        raise SourceError(
            f"policy '{name}' predicts {width(ready)} tokens, the base {width(base)}: another vocabulary, or "
            "embeddings that were resized in training; a policy must have the base's"
        )
