"""Cheap rewards: length, word lists, ROUGE, similarity of the reply to a document or reference."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment_limits.errors import RewardError, TableError
from alignment_limits.files import reading
from alignment_limits.rewards.base import ItemReward, Scores, distinct_items, need_file, pairs, text_reward, untruncated
from alignment_limits.rewards.checkpoints import without
from alignment_limits.tables.user_table import read_lines


def load_length(folder: Path | None, *, device: str, text: str, sign: int) -> ItemReward:
    """A reward in words (separated by white space)."""

    def score_texts(texts: list[str]) -> Scores:
        return untruncated([len(t.split()) for t in texts])

    return text_reward(text, sign, score_texts)


def load_lexicon(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    lexicon: str,
) -> ItemReward:
    """`vader`: compound sentiment in [−1, 1]; `words`: minus the share of listed words, in [−1, 0].

    Raises:
        RewardError: the word list is missing, empty or not UTF-8.
    """
    if lexicon == "vader":
        return _vader(text, sign)
    return _words(_only_file(folder), text, sign)


def _vader(text: str, sign: int) -> ItemReward:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # only here: it imports `requests`

    analyzer = SentimentIntensityAnalyzer()

    def score_texts(texts: list[str]) -> Scores:
        return untruncated([analyzer.polarity_scores(t)["compound"] for t in texts])

    return text_reward(text, sign, score_texts, flat=True)


def _words(path: Path, text: str, sign: int) -> ItemReward:
    try:
        lines = read_lines(path)
    except TableError as error:
        raise RewardError(f"the word list {error}") from error
    entries = {line.strip().lower() for line in lines if line.strip() and not line.startswith("#")}
    if not entries:
        raise RewardError(f"{path} lists no word; give one word or phrase per line")
    # Longest first, so that a phrase is counted once. \w guards instead of \b, for entries such as 'a$$'.
    alternatives = "|".join(re.escape(e) for e in sorted(entries, key=lambda e: (-len(e), e)))
    listed = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")

    def badness(t: str) -> float:
        lowered = t.lower()
        hits = sum(len(hit.split()) for hit in listed.findall(lowered))
        return hits / max(1, len(lowered.split()))

    def score_texts(texts: list[str]) -> Scores:
        return untruncated([-badness(t) for t in texts])

    return text_reward(text, sign, score_texts, flat=True)


def _only_file(folder: Path | None) -> Path:
    """The list's file; hidden files are ignored (Snakemake writes a timestamp into its folders)."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != ".") if folder is not None else []
    if len(files) != 1:
        raise RewardError(
            f"{folder}: a word list needs one text file, found {len(files)}; give it as the source's member"
        )
    return files[0]


_WORD = re.compile(r"[a-z0-9]+")


def load_rouge(folder: Path | None, *, device: str, text: str, sign: int, measure: str, part: str) -> ItemReward:
    """A reward in [0, 1]; `text` is not used. Several references count as one text.

    Args:
        measure: 'rouge-1', 'rouge-2' or 'rouge-l'.
        part: 'precision' (share of the reply), 'recall' (share of the other text) or 'f1'.
    """

    def score_pairs(items: list[tuple[str, str]]) -> Scores:
        return untruncated([rouge(reply, beside, measure, part) for beside, reply in items])

    return ItemReward(pairs, score_pairs, sign, flat=True)


def rouge(reply: str, reference: str, measure: str, part: str) -> float:
    """ROUGE of lower-cased words without stemming; 0 if either text has no word (or too few for an n-gram)."""
    ours, theirs = _WORD.findall(reply.lower()), _WORD.findall(reference.lower())
    if measure == "rouge-l":
        shared, mine, its = _longest_common(ours, theirs), len(ours), len(theirs)
    else:
        n = int(measure[-1])
        a, b = _ngrams(ours, n), _ngrams(theirs, n)
        shared, mine, its = (a & b).total(), a.total(), b.total()
    if not shared:
        return 0.0
    precision, recall = shared / mine, shared / its
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}[part]


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for j, other in enumerate(b, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def load_static_encoder(
    folder: Path | None, weights: str, tokenizer: str
) -> Callable[[list[str]], tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Texts → unit vectors float64 [n, d] (zero for a text without a known token), and False for each.

    Args:
        weights: safetensors file inside the folder with one matrix (tokens × d).
        tokenizer: tokenizers' JSON file inside the folder.

    Raises:
        RewardError: a file is missing, or the matrix does not fit the tokenizer.
    """
    from safetensors import safe_open
    from tokenizers import Tokenizer

    path = need_file(folder, weights, "static.weights")
    with reading(path, RewardError), safe_open(path, "pt") as file:
        names = list(file.keys())
        if len(names) != 1:
            raise RewardError(f"{path} contains {len(names)} arrays; static embeddings are one matrix")
        matrix = file.get_tensor(names[0]).double().numpy()
    words = need_file(folder, tokenizer, "static.tokenizer")
    with reading(words, RewardError):
        tokens = Tokenizer.from_file(str(words))
    plain = without([t.content for t in tokens.get_added_tokens_decoder().values() if t.special])
    tokens.no_padding()
    tokens.no_truncation()
    if matrix.ndim != 2 or tokens.get_vocab_size() > len(matrix):
        raise RewardError(f"{path}: {matrix.shape} vectors for {tokens.get_vocab_size()} tokens")

    def encode(texts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        out = np.zeros((len(texts), matrix.shape[1]))
        for row, encoded in enumerate(tokens.encode_batch([plain(text) for text in texts], add_special_tokens=False)):
            if encoded.ids:
                mean = matrix[encoded.ids].mean(axis=0)
                out[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return out, np.zeros(len(texts), dtype=bool)

    return encode


def load_similarity(
    folder: Path | None, *, device: str, text: str, sign: int, static: Mapping[str, Any] | None = None
) -> ItemReward:
    """A reward in cosine units, [−1, 1]: the reply's mean cosine to each line of the other text; `text` is not used.

    Args:
        static: `weights` and `tokenizer` of static embeddings; None: a mean-pooled transformers encoder.

    Raises:
        RewardError: a file is missing, or the folder is not such an encoder.
    """
    if static is not None:
        encode = load_static_encoder(folder, **static)
    else:
        from alignment_limits.rewards.embedding import load_encoder

        encode = load_encoder(folder, device)

    def score_pairs(items: list[tuple[str, str]]) -> Scores:
        lines = [beside.split("\n") for beside, _ in items]
        count = np.array([len(one) for one in lines])
        flat = [line for one in lines for line in one]
        texts, where = distinct_items([*flat, *(reply for _, reply in items)])
        vectors, truncated = encode(texts)
        owner = np.repeat(np.arange(len(items)), count)
        of_line, of_reply = where[: len(flat)], where[len(flat) :]
        cosine = np.einsum("ij,ij->i", vectors[of_line], vectors[of_reply][owner])
        score = np.bincount(owner, cosine) / count
        cut = truncated[of_reply] | (np.bincount(owner, truncated[of_line]) > 0)
        return Scores(score, cut)

    return ItemReward(pairs, score_pairs, sign)
