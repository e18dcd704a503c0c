"""With sixteen rewards of long names figures stay legible: panels keep their size, texts and strokes stay apart."""

import itertools

import numpy as np
import polars as pl
import pytest
from many import NAMES, policies, scores, study
from reading import cut_off, overlaps, smallest, texts
from synthetic import best_of_n, frontier, relatives

from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.figures.methods import Panel, panels, win_rate
from alignment_limits.report.figures.over_optimisation import selected, tilted
from alignment_limits.report.figures.policies import policies as policies_figure
from alignment_limits.report.figures.rewards import gold_under_proxies, reward_distributions
from alignment_limits.report.figures.style import Look

MM = 25.4


def draw(kind, look, curves, choices, fits, own, sums):
    if kind == "gold_under_proxies":
        return gold_under_proxies(curves, look, proxies=own, ensembles=sums)
    if kind == "tilted":
        return tilted(fits, curves, look, proxies=own, ensembles=sums)
    if kind == "selected":
        return selected(fits, choices, look, proxies=own, ensembles=sums)
    if kind == "win_rate":
        table = pl.concat([choices, relatives()], how="diagonal")
        return win_rate(table, look, proxies=own, ensembles=sums)
    if kind == "panels":
        return panels([Panel("one", curves, choices, "gold", (*own, *sums))], look)
    if kind == "policies":
        return policies_figure(policies(len(own) + len(sums)), frontier(), best_of_n(), look, evaluated="gold")
    table = scores((*own, *sums))
    return reward_distributions(table, within_prompt_spearman(table, "gold", look.names, replicates=20), look)


KINDS = ("gold_under_proxies", "tilted", "selected", "win_rate", "panels", "policies", "reward_distributions")
# least width and height of a panel in mm; the rows of over-optimisation have narrow columns
LEAST = {"tilted": (13, 25), "selected": (13, 25), "policies": (50, 12), "reward_distributions": (28, 60)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "size", "proxies", "ensembles"), [(3.4, 8, 12, 4), (7.0, 9, 16, 0)])
def test_legible(kind, width, size, proxies, ensembles):
    tables = study(proxies, ensembles)
    drawn = draw(kind, Look(width=width, font_size=size, names=NAMES), *tables)
    assert overlaps(drawn) == []
    assert cut_off(drawn) == []
    assert smallest(drawn) >= 6
    wide, high = LEAST.get(kind, (40, 25))
    for ax in drawn.axes:
        box = ax.get_window_extent()
        assert box.width / drawn.dpi * MM > wide, ax
        assert box.height / drawn.dpi * MM > high, ax


@pytest.mark.parametrize(("proxies", "ensembles"), [(16, 0), (12, 4), (2, 14)])
@pytest.mark.parametrize("palette", ["colorblind", "deep", "Set2"])
def test_no_two_names_have_one_colour_and_stroke(proxies, ensembles, palette):
    look = Look(names=NAMES, palette=palette)
    sums = NAMES[proxies : proxies + ensembles]
    looks = {(look.colour(n), str(look.stroke(n, ensemble=n in sums)), look.mark(n)) for n in NAMES}
    assert len(looks) == len(NAMES)
    for a, b in itertools.combinations(NAMES, 2):
        same = look.stroke(a, ensemble=a in sums) == look.stroke(b, ensemble=b in sums)
        assert not same or difference(look.colour(a), look.colour(b)) > 10, f"{a} and {b}"
        if palette == "colorblind":
            assert not same or difference(*map(green_blind, (look.colour(a), look.colour(b)))) > 7, f"{a} and {b}"


def linear(colour):
    c = np.array(colour)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def difference(a, b):
    """Distance of two colours in CIELAB (D65); about 2 can just be seen."""

    def lab(colour):
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        x, y, z = np.cbrt(to_xyz @ linear(colour) / np.array([0.9505, 1.0, 1.0890]))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    return float(np.linalg.norm(lab(a) - lab(b)))


def green_blind(colour):
    """A colour as people without green cones see it: Machado et al. (2009)."""
    seen = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    c = np.clip(seen @ linear(colour), 0, 1)
    return np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["gold_under_proxies", "tilted", "selected", "win_rate"])
def test_lines_and_the_key_have_the_strokes_of_their_names(kind):
    tables = study(12, 4)
    look = Look(names=NAMES)
    drawn = draw(kind, look, *tables)
    entries = {}
    for ax in drawn.axes:
        if ax.get_legend():
            for handle, text in zip(ax.get_legend().get_lines(), ax.get_legend().get_texts(), strict=True):
                entries[text.get_text().replace("\n", "")] = (handle.get_color(), str(handle._unscaled_dash_pattern))
        for sample in ax.get_lines():  # of rows that are the key
            if (sample.get_gid() or "").startswith("key:"):
                entries[sample.get_gid()[4:]] = (sample.get_color(), str(sample._unscaled_dash_pattern))
    assert set(entries) >= set(NAMES)
    assert len({entries[n] for n in NAMES}) == len(NAMES)


@pytest.mark.parametrize("kind", ["tilted", "selected"])
def test_rows_of_over_optimisation_name_every_reward_once(kind):
    drawn = draw(kind, Look(names=NAMES), *study(12, 4))
    rows = [t.get_text() for t in texts(drawn) if t.axes is drawn.axes[1]]
    assert sorted(t for t in rows if t in NAMES) == sorted(NAMES)
