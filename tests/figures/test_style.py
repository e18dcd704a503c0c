"""Size, colours and files of figures."""

import io
import os
import re
import zlib

import matplotlib
import pytest
import seaborn
from fontTools.ttLib import TTFont

from alignment_limits.errors import ArtifactError, ConfigError
from alignment_limits.report.figures.style import INK, TICKS, Look, colours, label, order, save

LOOK = Look(names=("a", "b", "c"))


def drawn(look=LOOK):
    with look.applied():
        figure = look.figure(2.0)
        ax = figure.subplots()
        ax.plot([0, 1], [0, 1])
        ax.set_xlabel(r"KL, $\sqrt{\kappa}$")
    return figure


def test_look_is_read_from_a_rules_params():
    p = {
        "figures": {"width_inches": 7, "font_size": 9, "palette": "deep"},
        "gold": "g",
        "rewards": ["p", "g", "q"],
    }
    look = Look.of(p | {"ensembles": ["e"]})
    assert (look.width, look.font_size, look.palette, look.gold) == (7, 9, "deep", "g")
    assert look.names == ("p", "q", "e")


def test_a_reward_has_one_colour_with_and_without_ensembles():
    p = {"gold": "g", "proxies": ["p", "q"]}
    alone, together = Look.of(p), Look.of(p | {"ensembles": ["e", "f"]})
    assert [alone.colour(n) for n in "pq"] == [together.colour(n) for n in "pq"]
    assert len({together.colour(n) for n in "pqef"}) == 4


def test_the_default_look_is_seaborns_though_seaborn_is_not_loaded_for_it():
    assert colours("colorblind") == list(seaborn.color_palette("colorblind"))
    assert colours("colorblind", 12) == list(seaborn.color_palette("colorblind", 12))
    with LOOK.applied():
        ours = dict(matplotlib.rcParams)
    seaborns = {**seaborn.axes_style("ticks"), **seaborn.plotting_context("paper")}
    with LOOK.applied(), matplotlib.rc_context({k: v for k, v in seaborns.items() if k in TICKS}):
        for key, value in matplotlib.rcParams.items():
            assert ours[key] == pytest.approx(value) if isinstance(value, float) else ours[key] == value, key
    rest = {k: v for k, v in seaborns.items() if k not in TICKS and v != matplotlib.rcParamsDefault[k]}
    own = {"font", "axes.spines", "axes.linewidth", "axes.labelsize", "axes.titlesize", "legend", "lines.linewidth"}
    own |= {"xtick.major", "ytick.major", "xtick.labelsize", "ytick.labelsize", "image.cmap"}
    assert not [key for key in rest if not key.startswith(tuple(own))], "what we do not set ourselves, is as seaborn's"


def test_gold_is_black():
    assert LOOK.colour("gold") == INK == "#000000"


def test_unknown_palette_is_a_users_error():
    with pytest.raises(ConfigError, match=r"figures\.palette: 'nope'"):
        Look(palette="nope", names=("a",)).colour("a")


def test_type_is_at_least_six_points_unless_the_study_asks_for_less():
    assert Look(font_size=8).small == 6.5
    assert Look(font_size=7).small == 6
    assert Look(font_size=5).small == 5


def test_long_names_break_at_their_joints():
    assert label("vader") == "vader"
    assert label("toxic-comment-classifier") == "toxic-comment-\nclassifier"
    assert label("a$b") == r"a\$b"
    assert label("nvidia/Llama-3.1-Nemotron-70B") == "nvidia/Llama-3.1-\nNemotron-70B"
    assert label("allenai/Llama-3.1-Tulu", 16) == "allenai/Llama-\n3.1-Tulu", "a number is not broken"


def test_order_puts_unknown_and_nan_last():
    assert order(["x", "nan", "y", "z"], {"x": 0.1, "y": 0.7, "nan": float("nan")}) == ["y", "x", "nan", "z"]


def test_files_are_the_same_twice_and_carry_no_date(tmp_path):
    for name in ("a", "b"):
        save(drawn(), LOOK, tmp_path / f"{name}.pdf", tmp_path / f"{name}.png")
    for kind in ("pdf", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    for kind, word in (("pdf", b"CreationDate"), ("png", b"Software")):
        assert word not in (tmp_path / f"a.{kind}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]


def test_pdf_embeds_truetype_fonts_and_png_has_300_dpi(tmp_path):
    save(drawn(), LOOK, tmp_path / "a.pdf", tmp_path / "a.png")
    raw = (tmp_path / "a.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", raw, re.DOTALL)
    assert b"/FontFile2" in raw or any(b"/FontFile2" in _inflated(s) for s in streams)
    assert b"/Type3" not in raw
    fonts = [TTFont(io.BytesIO(font)) for s in streams if (font := _inflated(s)).startswith((b"\0\1\0\0", b"true"))]
    assert fonts
    for font in fonts:
        assert not {"GSUB", "GPOS", "GDEF", "kern"} & set(font.keys())
        assert any(font["glyf"][name].numberOfContours for name in font.getGlyphOrder()), "glyphs are there"
    width = int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big")
    assert width == round(3.4 * 300)


def _inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.pdf or \.png"):
        save(drawn(), LOOK, tmp_path / "a.svg")


def test_full_disk_leaves_no_file(tmp_path, monkeypatch):
    figure = drawn()

    def full(*args, **kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(ArtifactError, match="no space left"):
        save(figure, LOOK, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
