"""What is drawn is what was given, files are whole and repeat, and the user's matplotlib is left alone."""

import itertools
import re
import struct
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from jnorm import plots

# Machado, Oliveira and Fernandes 2009, severity 1: how linear RGB looks without one kind of cone.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def drawing(size=(3.0, 2.0)):
    """A figure with every kind of thing in it."""
    rng = np.random.default_rng(0)
    mean, var = np.linspace(-1, 1, 9), np.linspace(0.5, 2, 7)
    values = np.where(mean > 0.5, np.nan, var[:, None] + mean)
    fig, (left, right) = plots.figure(1, 2, size=size)
    plots.vector_field(left, mean, var, -np.tile(mean, (7, 1)), np.tile(1 - var[:, None], 9), label="shift")
    plots.cloud(left, rng.normal(size=(20, 3)), 1 + rng.normal(size=(20, 3)) / 9, color=plots.PALETTE[0])
    plots.trajectory(left, [1, 0.5], [2, 1.5], color=plots.PALETTE[1], label="path")
    plots.plane(right, mean, var, values, label="value", missing="none")
    plots.contour(right, mean, var, values, 1.5, text="here", color="black")
    plots.legend(fig, left)
    return fig


def saved(folder, **options):
    with plots.style():
        return [file.read_bytes() for file in plots.save(drawing(**options), folder / "drawing")]


def test_files_repeat_byte_for_byte_whatever_the_user_has_set(tmp_path):
    first = saved(tmp_path)
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "other", "axes.facecolor": "red", "savefig.dpi": 50}):
        assert saved(tmp_path) == first
    assert sorted(file.name for file in tmp_path.iterdir()) == ["drawing.png", "drawing.svg"]


def test_png_and_svg_have_one_size_and_the_svg_needs_no_fonts(tmp_path):
    png, svg = saved(tmp_path, size=(3.0, 2.0))
    assert struct.unpack(">II", png[16:24]) == (600, 400)  # the header's size: 200 pixels an inch
    width, height = re.search(rb'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()
    assert (float(width), float(height)) == (216, 144)  # 72 points an inch
    assert b"<text" not in svg
    assert b"<dc:date" not in svg


def test_a_notebook_shows_a_figure_without_pyplot():
    _, axes = plots.figure(size=(2.0, 1.5))
    png, metadata = axes.figure._repr_png_()  # what IPython asks of the value of a cell
    assert struct.unpack(">II", png[16:24]) == (400, 300)  # 200 dots to an inch
    assert metadata == {"width": 260}


def test_no_figure_is_written_where_drawing_the_second_format_fails(tmp_path, monkeypatch):
    with plots.style():
        fig = drawing()
    draw = fig.savefig

    def fail(buffer, *, format, **options):
        if format == "svg":
            raise KeyboardInterrupt
        draw(buffer, format=format, **options)

    monkeypatch.setattr(fig, "savefig", fail)
    with pytest.raises(KeyboardInterrupt):
        plots.save(fig, tmp_path / "drawing")
    assert list(tmp_path.iterdir()) == []


def test_the_users_matplotlib_is_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    saved(tmp_path)
    assert dict(matplotlib.rcParams) == before
    code = "import sys, jnorm.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib_the_import_names_the_extra():
    code = """
import sys
sys.modules["matplotlib"] = None
try:
    import jnorm.plots
except ImportError as error:
    assert str(error) == 'jnorm.plots needs matplotlib: pip install "jnorm[plot]"', error
    assert error.name == "matplotlib"
else:
    sys.exit("imported")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arrows_point_along_the_field_as_it_is_seen():
    mean, var = np.linspace(0, 4, 5), np.linspace(0, 1, 3)
    dmean, dvar = np.ones((3, 5)), np.full((3, 5), 0.5)
    dmean[0, 0], dvar[1, 1] = np.nan, np.inf
    dmean[2, 2] = dvar[2, 2] = 0
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        plots.vector_field(axes, mean, var, dmean, dvar)
    (arrows,) = (c for c in axes.collections if hasattr(c, "U"))
    assert len(arrows.U) == 15 - 3  # one each is NaN, infinite, zero
    # A grid cell is 1 wide and 0.5 high: (1, 0.5) is the diagonal of a cell, an arrow as long as a cell in each units.
    np.testing.assert_allclose(arrows.U, np.sqrt(0.5) * 1, rtol=1e-12)
    np.testing.assert_allclose(arrows.V, np.sqrt(0.5) * 0.5, rtol=1e-12)


def test_ellipses_hold_their_share_and_join_without_holes():
    rng = np.random.default_rng(1)
    mean, var = rng.multivariate_normal([0, 1], [[0.04, 0.03], [0.03, 0.09]], 20_000).T
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        plots.cloud(axes, mean[:, None], var[:, None], color="red", cover=0.9)
        plots.cloud(axes, rng.normal(size=(5, 30)), rng.normal(size=(5, 30)), color="red")
    one, two = (patch.get_path() for patch in axes.patches)
    share = one.contains_points(np.stack([mean, var], 1)).mean()
    # Binomial error .0021; the 48-sided outline loses .3 % of the area, .0007 of the share.
    assert abs(share - 0.9) < 4 * 0.0021 + 0.0007
    outlines = np.split(two.vertices, np.flatnonzero(two.codes == two.MOVETO)[1:])
    # Filled by winding number: opposite turns would cancel where outlines overlap.
    areas = [(np.roll(v, -1, 0)[:, 1] * v[:, 0] - np.roll(v, -1, 0)[:, 0] * v[:, 1]).sum() / 2 for v in outlines]
    assert len(areas) == 30
    assert min(areas) > 0


def test_bands_are_the_quantiles_of_the_samples():
    samples = np.arange(101.0)[:, None] + np.array([0, 10])
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        plots.band(axes, [0, 1], samples, color="red", cover=0.9)
    (shape,) = axes.collections
    corners = {tuple(point) for point in shape.get_paths()[0].vertices.round(9)}
    assert corners == {(0, 5), (0, 95), (1, 15), (1, 105)}
    assert axes.lines[0].get_ydata().tolist() == [50, 60]


def test_missing_values_leave_a_hatched_gap_with_its_text_inside():
    x, y = np.linspace(0, 10, 41), np.linspace(0, 1, 21)
    values = np.where((x[None, :] > 6) & (y[:, None] < 0.5), np.nan, x[None, :] + 1)
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        plots.plane(axes, x, y, values, missing="none", log=True, limits=(2.0, 20.0), label="value")
    mesh = axes.collections[0]
    np.testing.assert_array_equal(np.isnan(values), np.ma.getmaskarray(mesh.get_array()).reshape(values.shape))
    assert axes.patch.get_hatch()
    left, low = axes.texts[0].get_position()
    assert 6 < left < 10
    assert 0 < low < 0.5
    assert mesh.colorbar.extend == "min"  # values reach from 1 to 11, the scale from 2 to 20
    assert mesh.colorbar.ax.get_ylabel() == "value"


def test_a_plane_without_any_value_is_still_a_plane(tmp_path):
    with plots.style():
        fig, axes = plots.figure(size=(3, 2))
        plots.plane(axes, [0, 1], [0, 1], np.full((2, 2), np.nan), missing="nothing", levels=[0, 1, 2], label="value")
        plots.save(fig, tmp_path / "empty")
    assert axes.texts[0].get_text() == "nothing"


def test_steps_put_a_value_on_a_border_into_the_step_above():
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        plots.plane(axes, [0, 1, 2, 3], [0, 1], [[0, 1, 2, 3], [3, 2, 1, 0]], levels=range(0, 5, 2))
    norm = axes.collections[0].norm
    assert norm(1.99) == norm(0)
    assert norm(2) == norm(3) != norm(0)


def test_contours_lie_where_the_values_pass_the_level():
    x, y = np.linspace(0, 1, 11), np.linspace(0, 1, 5)
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        plots.contour(axes, x, y, np.tile(x, (5, 1)), 0.25, text="here", color="black")
        plots.contour(axes, x, y, np.tile(x, (5, 1)), 2.0, text="never", color="black")
    (lines,) = axes.collections
    np.testing.assert_allclose(lines.get_paths()[0].vertices[:, 0], 0.25, rtol=1e-12)


def test_branches_change_their_dash_where_stability_does_and_have_no_gaps():
    x = np.arange(6.0)
    with plots.style():
        _, axes = plots.figure(size=(3, 2))
        plots.branch(axes, x, x**2, [True, True, False, False, True, True], color="red", label="points")
    *drawn, key = axes.lines
    assert [line.get_linestyle() for line in drawn] == ["-", "--", "-"]
    assert [line.get_xdata().tolist() for line in drawn] == [[0, 1], [1, 2, 3], [3, 4, 5]]
    assert (key.get_linestyle(), key.get_label()) == ("-", "points")


def linear(color):
    rgb = np.array(matplotlib.colors.to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB (IEC 61966-2-1 primaries, white D65)."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    t = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", BLIND)
def test_colours_stay_apart_without_one_kind_of_cone(kind):
    def apart(colors):
        seen = [lab(np.array(BLIND[kind]) @ linear(color)) for color in colors]
        return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))

    assert apart(plots.PALETTE[:6]) > 10  # a difference of 2.3 is just noticeable
    assert apart(["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"]) < 10  # others do not
