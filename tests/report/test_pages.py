"""Pages are whole, self-contained, and nothing in them can run, whatever texts and names say."""

import re
from html.parser import HTMLParser

import jinja2
import polars as pl
import pytest
import synthetic

from alignment_limits.errors import ArtifactError
from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.claims.limits import claims, turns_down
from alignment_limits.report.headline import answers, headline
from alignment_limits.report.pages import page
from alignment_limits.report.pages.headline import headline_page, sample_page
from alignment_limits.report.pages.page import study_card

HOSTILE = "</pre></blockquote></style><script>alert('x')</script><img src=x onerror=\"alert(1)\">&amp;\x00"
VOID = {"meta", "img", "br", "link", "input"}


class Strict(HTMLParser):
    """Collects elements, checks that they nest."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def harmless(text):
    """The page's tags, after checking that none can run or fetch anything."""
    found = Strict(text).found
    assert not {t for t, _ in found} & {"script", "img", "iframe", "link", "object", "a", "form"}
    names = {name for _, attrs in found for name in attrs}
    assert names <= {"lang", "charset", "name", "content", "http-equiv", "class"}
    assert "default-src 'none'" in text
    return [t for t, _ in found]


def samples(text="fine"):
    rows = [
        {"prompt_id": f"p{i}", "sample_id": j, "text": f"{text} {i}/{j}", "finish_reason": "length"}
        for i in range(6)
        for j in range(8)
    ]
    gold = [{"prompt_id": f"p{i}", "sample_id": j, "score": float(j)} for i in range(6) for j in range(8)]
    prompts = [{"prompt_id": f"p{i}", "text": f"{text} prompt {i}"} for i in range(6)]
    return pl.DataFrame(prompts), pl.DataFrame(rows), pl.DataFrame(gold)


def test_every_value_of_a_template_is_escaped_and_none_may_be_missing():
    row = [HOSTILE, page.Cell(HOSTILE, HOSTILE)]
    text = page.render("gold.html", HOSTILE, **dict.fromkeys(["study", "documents", "gold", "verdict"], HOSTILE),
                       above_samples=HOSTILE, above_other=HOSTILE, rewards=[row])  # fmt: skip
    harmless(text)
    assert text.count("&lt;script&gt;") == 11
    with pytest.raises(jinja2.UndefinedError, match="'documents' is undefined"):
        page.render("gold.html", "t", study="s")


def test_samples_are_escaped_closed_and_behind_a_warning():
    text = sample_page(HOSTILE, *samples(HOSTILE))
    tags = harmless(text)
    assert tags.count("details") == 4
    assert "<details open" not in text
    assert text.index("can be offensive") < text.index("<details>")
    assert "&lt;script&gt;" in text


def test_highest_and_lowest_samples_are_shown():
    text = sample_page("s", *samples(), count=1)
    shown = re.findall(r"<blockquote>fine 0/(\d)</blockquote>", text)
    assert shown == ["7", "6", "5", "2", "1", "0"]
    assert "cut at the token limit" in text


def test_few_samples_are_not_shown_twice():
    prompts, rows, gold = samples()
    text = sample_page("s", prompts, rows.filter(pl.col("sample_id") < 3), gold, count=1)
    assert re.findall(r"<blockquote>fine 0/(\d)</blockquote>", text) == ["2", "0"]


def test_prompts_are_spread_over_the_study():
    assert re.findall(r"Prompt (p\d)", sample_page("s", *samples(), count=3)) == ["p0", "p2", "p4"]


CONFIG = {
    "study": HOSTILE,
    "seed": 7,
    "gold": "gold",
    "rewards": {
        "gold": {"kind": "lexicon", "lexicon": "vader", "note": HOSTILE, "source": None},
        "proxy": {"kind": "sklearn", "source": {"package": "p==1", "hub": None}, "note": ""},
    },
    "ensembles": {"e": {"members": ["gold", "proxy"], "aggregator": "mean"}},
    "limits": {"betas": (8.0, 4.0)},
}
MADE = {
    "results/a.parquet": {
        "stage": "frontier",
        "seed": 7,
        "config_digest": "d1",
        "code": "c1",
        "versions": {"numpy": "2.3.5"},
        "source": HOSTILE,
    },
    "results/b.parquet": {"stage": HOSTILE, "versions": {"numpy": "2.3.4"}},
}


def test_study_card_is_harmless_and_complete():
    text = study_card(CONFIG, MADE)
    harmless(text)
    for word in (
        "our choice",
        "2.3.4, 2.3.5 (differs between tables)",
        "p==1",
        "betas",
        "d1",
        "c1",
        "Apache-2.0",
    ):
        assert word in text


def test_study_card_shows_what_preflights_found():
    rewards = {"rm": {"kind": "sequence-classifier"}, "verifier": {"kind": "python", "function": "f:g"}}
    tried = {
        "rm": {"constant": False, "dtype": "bfloat16", "dtype_deviation": 0.0712},
        "verifier": {"constant": True, "lowest": 0.0},
    }
    text = study_card({"rewards": rewards}, {}, tried)
    assert "bfloat16 against float32: up to 7.1% of the spread" in text
    assert "all probe texts scored 0" in text
    tried["rm"]["dtype_deviation"] = None
    assert "bfloat16 against float32: not measured" in study_card({"rewards": rewards}, {}, tried)


def test_study_card_of_an_empty_study():
    harmless(study_card({}, {}))


def hostile_headline():
    names = [*synthetic.RHO, *synthetic.ENSEMBLES]
    agreement = within_prompt_spearman(synthetic.standardised(), "gold", names, replicates=200)
    given = {"gold": "gold", "proxies": list(synthetic.RHO)}
    tables = synthetic.frontier().with_columns(reason=pl.lit(HOSTILE)), synthetic.best_of_n()
    turns, rest = synthetic.over_optimisation(), (agreement, synthetic.scales(), synthetic.summary())
    numbers = headline(*tables, turns, *rest, **given, ensembles=list(synthetic.ENSEMBLES))
    verdicts = claims(*tables, agreement, **given, members=synthetic.MEMBERS)
    answered = answers(*tables, 2.5, gold="gold", proxies=list(synthetic.RHO))
    return numbers, answered, [*verdicts, turns_down(turns, list(synthetic.RHO))]


def test_headline_page_is_harmless_and_says_verdicts_and_reasons():
    text = headline_page(HOSTILE, *hostile_headline(), {"vader": HOSTILE})
    tags = harmless(text)
    assert tags.count("h3") == tags.count("details") == 6, "the rule of each verdict is in a fold-out"
    for word in (
        "Holds.",
        "†",
        "<summary>Rule</summary>",
        "Theoretical Limits of Language Model Alignment",
        "our choice",
        "How much survives a wrong reward?",
        "gold still rises at the end of the path (2 nats)",
        "share of the ideal at KL 1",
    ):
        assert word in text


def test_headline_page_without_rewards_or_claims():
    numbers, *_ = hostile_headline()
    text = headline_page("s", numbers.filter(pl.col("group") == "limit"), [], [])
    harmless(text)
    assert "no proxies" in text


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    page.write_page("<p>\udcff</p>", tmp_path / "sub" / "a.html")
    assert (tmp_path / "sub" / "a.html").read_text("utf-8") == "<p>?</p>"
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    with pytest.raises((ArtifactError, OSError)):
        page.write_page("x", blocked / "a.html")
