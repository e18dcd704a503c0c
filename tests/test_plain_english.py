"""The project's text is plain English: words and phrases of its former dialect do not come back.

Searched are pages, captions, templates, comments, docstrings, messages and help; not code, quotations and addresses.
`DIALECT` has the usual words next to each pattern. A hit that is right goes into `ALLOWED`, with the reason.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

DIALECT = {
    r"\btold\b": "reliable, reported",
    r"\bsurely\b": "significantly",
    r"\bbesides?\b": "alongside, next to, in addition",
    r"\bwhat (is|was|are|were) made\b|\bwhat (it|they|models?|jobs?|policies|a \w+) makes?\b": "output, results",
    r"\b(as|than) (it|they) (is|was|are|were) made\b": "unchanged",
    r"\banew\b": "again",
    r"\b(short of|up to|less than) the most\b|\bthe most (that|it|they|one|any|a|of) ": "maximum, upper bound",
    r"\blight (kinds?|environment|install|ones?|packages?|set|world)\b": "cheap, minimal",
    r"\bnone to \d": "no peak up to … nats",
    r"\bgentle(st|r)?\b": "weak, weakest",
    r"\bever (harder|more|larger|further|longer|smaller)\b": "more strongly, more and more",
    r"(?<!there )\b(is|are|was) no (number|list|file|name|object|table|reward|model|text|column)\b": "is not a …",
    r"\bsaid (of|by|for|here|there|so|elsewhere)\b|\b(is|be|are) said\b": "reported, stated",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bheld (in|by|at|back)\b|\bholds? (a|an|no|what|its|all|both|only|text|scores|the (same|prompts?|samples?)) ": (
        "contains, keeps"
    ),
    r"\bby (itself|themselves)\b": "alone, separately",
    r"\bto be had\b": "available",
    r"\bwhat (becomes|became) of\b": "how … changes",
    r"\b(samples|prompts|draws) enough\b": "enough samples",
    r"\bas one would\b": "plain nouns",
    r"\bfall(s)? short\b": "are too short",
}

# Hits that are right: part of the path, part of the line, the reason.
ALLOWED: list[tuple[str, str, str]] = [
    ("training/exact.py", "told: called", "the name of an argument"),
    ("report/agreement.py", "beside: the text", "the name of an argument"),
    ("report/agreement.py", "beside, reply", "the name of a column"),
]

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "config/*.md", "workflow/report/*.rst")
TEMPLATES = ("workflow/alignment_limits/report/pages/templates/*.html",)
COMMENTED = ("config/**/*.yaml", "profiles/**/*.yaml", "workflow/**/*.smk", "workflow/Snakefile", "Makefile")
PYTHON = ("workflow/**/*.py", "benchmarks/*.py")
ADDRESS, CODE, QUOTED = r"https?://\S+", r"``?[^`]*``?", r"“[^”]*”"


def without(text, *patterns):
    """Text without what the patterns match, on the same lines."""
    for pattern in patterns:
        text = re.sub(pattern, lambda m: " " + "\n" * m[0].count("\n"), text, flags=re.S)
    return text


def page(text):
    """The prose of a page in Markdown or reStructuredText."""
    return without(text, r"(?m:^)```.*?(?m:^)```", CODE, r"\]\([^)]*\)", r"<[^>]*>", ADDRESS, r'"[^"\n]*"', QUOTED)


def template(text):
    """The prose of a page's template."""
    return without(text, r"<(style|script).*?</\1>", r"\{%.*?%\}", r"\{\{.*?\}\}", r"\{#.*?#\}", r"<[^>]*>", QUOTED)


def comments(text):
    """Comments of YAML and rules; the Makefile's comments and help."""
    return without("\n".join(line.partition("#")[2] for line in text.splitlines()), CODE, ADDRESS, r'"[^"\n]*"')


def python(text):
    """Docstrings, comments, and strings with a space in them: messages and help."""
    lines = [""] * (text.count("\n") + 2)
    strings = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or (token.type in strings and " " in token.string):
            for i, part in enumerate(without(token.string, CODE, ADDRESS, r"\{[^{}\n]*\}").split("\n")):
                lines[token.start[0] - 1 + i] += " " + part
    return "\n".join(lines)


KINDS = ((PAGES, page), (TEMPLATES, template), (COMMENTED, comments), (PYTHON, python))


def hits(prose, name=""):
    for number, line in enumerate(prose.splitlines(), start=1):
        for pattern, usual in DIALECT.items():
            for hit in re.finditer(pattern, line, re.I):
                if not any(path in name and words in line for path, words, _ in ALLOWED):
                    yield f"{name}:{number}: '{hit[0]}' ({usual}) in: {line.strip()}"


@pytest.mark.parametrize(("patterns", "prose"), KINDS, ids=["pages", "templates", "comments", "python"])
def test_the_dialect_is_gone(patterns, prose):
    files = sorted(file for pattern in patterns for file in ROOT.glob(pattern))
    assert files
    found = [hit for f in files for hit in hits(prose(f.read_text("utf-8")), str(f.relative_to(ROOT)))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "sentence",
    [
        "the gentlest tilt is told best",
        "short of the most (percentage points)",
        "as another reward is optimised ever harder",
        "None to 1.3 is said where no significant fall was seen",
        "'sample_id' is no number",
        "a file keeps what is made beside it",
        "the light environment holds no torch",
    ],
)
def test_the_dialect_is_recognised(sentence):
    assert list(hits(sentence))


def test_code_and_quotations_are_not_searched():
    assert not list(hits(page('`told`, [text](beside.md), "surely"\n```\ntold\n```\n')))
    assert not list(hits(comments("told: 1  # `told`\n")))
    assert not list(hits(python('told = f"a {told} b"\nbeside = "told"\n')))
    assert len(list(hits(python('"""It is\ntold."""\nraise Error("surely not")  # beside\n')))) == 3


def test_every_exception_is_needed():
    texts = {
        str(f.relative_to(ROOT)): f.read_text("utf-8") for pattern in (*PAGES, *PYTHON) for f in ROOT.glob(pattern)
    }
    assert [words for path, words, _ in ALLOWED if not any(path in n and words in t for n, t in texts.items())] == []
