"""Figures and report pages: what they contain, that they need nothing else, and a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import count_ops
import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_data, small_network
from judges.sealing import change_and_reseal
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.analysis import plot
from eventsim.cli.main import main


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    net, data = small_network(), small_data(80)
    es.evaluate(net, data, folder / "eval.h5", workers=1).close()
    es.run(net, data[0], steps=6, exit_margin=15, trace=folder / "run.h5", about={"input": "<b>0</b>.png", "truth": 1})
    digit = np.asarray(Image.open(ROOT / "datasets" / "samples" / "digit-7.png"))
    es.run(es.load(ROOT / "networks" / "lenet-mnist.h5"), digit, steps=8, trace=folder / "lenet.h5")
    for name in ("eval", "run", "lenet"):
        done = CliRunner().invoke(main, ["report", str(folder / f"{name}.h5"), "-o", str(folder / f"{name}.html")], catch_exceptions=False)
        assert done.exit_code == 0
    return folder


class Reader(HTMLParser):
    """Collects text, tags and addresses."""

    def __init__(self):
        super().__init__()
        self.text, self.tags, self.addresses, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader, " ".join(" ".join(reader.text).split())


@pytest.mark.parametrize("name", ["eval", "run", "lenet"])
def test_a_page_needs_nothing_else_and_no_script(files, name):
    reader, _ = read(files / f"{name}.html")
    assert "script" not in reader.tags
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in reader.addresses)
    assert len(set(reader.ids)) == len(reader.ids)
    # What a figure refers to is in that figure.
    text = (files / f"{name}.html").read_text()
    for address in [a[1:] for a in reader.addresses if a.startswith("#")] + re.findall(r"url\(#([^)]*)\)", text):
        assert address in reader.ids


def test_the_pages_say_what_the_files_say(files):
    with es.Trace(files / "run.h5") as trace:
        _, text = read(files / "run.html")
        assert "<b>0</b>.png" in text  # escaped, not markup
        assert f"{trace.total_synaptic_events:,}" in text
        assert f"decided at {trace.decision_latency:.3f}" in text
        assert f"stopped at {trace.exit_latency:.3f}" in text
        for title in ("Readout over time", "Spike raster", "Operations per layer and step", "Feature maps of b"):
            assert title in text
    with es.Evaluation(files / "eval.h5") as e:
        _, text = read(files / "eval.html")
        assert f"{e.accuracy:.2%}" in text
        assert f"{e.totals()[1].mean():,.0f}" in text
        assert f"{e.choose_exit('margin').threshold:,}" in text
        for title in ("Accuracy against time", "Decision latency", "Early exit", "Firing rates", "Confusion matrix"):
            assert title in text


def test_the_input_is_the_image(files):
    import base64
    import io

    reader, _ = read(files / "run.html")
    shown = Image.open(io.BytesIO(base64.b64decode(next(a for a in reader.addresses if a.startswith("data:")).partition(",")[2])))
    assert np.array_equal(np.asarray(shown), small_data(80)[0][..., 0])


def test_figures_show_the_numbers(files):
    with es.Trace(files / "run.h5") as trace:
        axes = plot.readout(trace).axes[0]
        lines = {line.get_label(): line for line in axes.lines}
        for neuron, label, _ in trace.top():
            assert np.array_equal(lines[label].get_ydata(), trace.readout[:, neuron])
        raster = plot.raster(trace)
        drawn = sum(len(line.get_xdata()) for a in raster.axes for line in a.lines)
        assert drawn == sum(len(trace.spikes(p).ticks) for p in ("a", "b"))
        bars = plot.operations(trace).axes[0].containers
        for bar, i in zip(bars, (0, 1), strict=True):
            assert [p.get_height() for p in bar] == trace.counts.synaptic_events[:, i].tolist()
        maps = plot.feature_maps(trace, "b").axes
        assert np.array_equal(maps[0].images[0].get_array(), trace.spike_counts("b")[..., 0])
    with es.Evaluation(files / "eval.h5") as e:
        assert np.array_equal(plot.accuracy_over_time(e).axes[0].lines[0].get_ydata(), e.accuracy_over_time())
        histogram = plot.latency_histogram(e).axes[0]
        assert sum(p.get_height() for p in histogram.containers[0]) + sum(p.get_height() for p in histogram.containers[1]) == len(e)
        curve = plot.trade_off(e).axes[0].lines[0]
        assert np.array_equal(curve.get_xdata(), e.trade_off("margin").latency)
        picture = plot.confusion(e).axes[0]
        assert sum(int(t.get_text()) for t in picture.texts) == len(e)


def test_many_spikes_become_a_density(files, monkeypatch):
    monkeypatch.setattr(plot, "DOTS", 10)
    with es.Trace(files / "lenet.h5") as trace:
        axes = plot.raster(trace, ["fc5"]).axes[0]
        assert np.expm1(axes.images[0].get_array()).sum() == pytest.approx(len(trace.spikes("fc5").ticks))


@pytest.mark.parametrize("resolution", [1, 100, 1000])
@pytest.mark.parametrize("size", [7, 200, 201, 450])
@pytest.mark.parametrize("dots", [True, False])
def test_a_raster_shows_every_spike_in_its_place_and_none_on_the_frame(monkeypatch, size, resolution, dots):
    """Neurons that fire at every step's end: the first, the last, and all between; as dots, and as bins of whole ticks and neurons."""
    net = es.Network()
    net.driven("d", size, 5)
    result = es.run(net, {"d": np.full(size, 5)}, steps=3, resolution=resolution)
    monkeypatch.setattr(plot, "DOTS", 10**6 if dots else 1)
    axes = plot.raster(result, stop=3).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 0
    assert right > 3
    assert bottom < -0.5
    assert top > size - 0.5
    if dots:
        assert sorted(zip(*axes.lines[0].get_data(), strict=True)) == [(t, n) for t in (1, 2, 3) for n in range(size)]
        return
    picture = axes.images[0]
    density, (x0, x1, y0, y1) = np.expm1(picture.get_array()), picture.get_extent()
    lines, columns = density.shape
    across, up = (x1 - x0) / columns, (y1 - y0) / lines
    assert across * resolution == pytest.approx(round(across * resolution))
    assert up == round(up)
    expected = np.zeros_like(density)
    for step in (1, 2, 3):
        # A bin holds the ticks after its left edge up to its right one.
        column = int(np.ceil((step - x0) / across - 1e-9)) - 1
        for neuron in range(size):
            expected[int((neuron - y0) // up), column] += 1
    assert np.allclose(density, expected)


def test_an_evaluation_without_spikes_decisions_or_trade_off_is_reported(tmp_path):
    """Nothing projects to the readout: all that is not there is left out of the page, and figures of it are refused."""
    net = es.Network()
    net.image_input((6, 6, 1))
    net.driven("a", (6, 6, 1), 300, encoder=es.Conv2d(np.ones((1, 1, 1, 1), int)))
    net.readout("out", 4)
    e = es.evaluate(net, small_data(5), tmp_path / "e.h5", workers=1, trade_off=False)
    assert e.normalised_operations() == 0
    assert e.summary()["undecided"] == 5
    for figure, words in ((plot.trade_off, "no trade-off"), (plot.latency_histogram, "no image has a decision")):
        with pytest.raises(es.RunError, match=words):
            figure(e)
    done = CliRunner().invoke(main, ["report", str(tmp_path / "e.h5"), "-o", str(tmp_path / "e.html")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "5 images: no spike reached the readout" in read(tmp_path / "e.html")[1]


def test_rasters_that_hold_nothing_or_too_much_are_refused():
    net = es.Network()
    for i in range(51):
        net.driven(f"d{i}", 1, 5)
    result = es.run(net, {f"d{i}": [5] for i in range(51)}, steps=3)
    with pytest.raises(es.RunError, match="50 populations"):
        plot.raster(result)
    assert len(plot.raster(result, ["d3", "d4"]).axes) == 2
    with pytest.raises(es.RunError, match="from 2 to 2 steps"):
        plot.raster(result, ["d3"], 2, 2)
    clocked = es.run(net, {f"d{i}": [5] for i in range(51)}, steps=3, resolution=1)
    for window in ((0.2, 0.8), (20, 30), (-5, -3), (0, float("inf"))):
        with pytest.raises(es.RunError, match="holds nothing"):
            plot.raster(clocked, ["d3"], *window)
    with pytest.raises(es.RunError, match="at least one channel"):
        plot.feature_maps(result, "d3", 0)
    nothing = es.Network()
    nothing.readout("out", 1)
    with pytest.raises(es.RunError, match="no population fires"):
        plot.raster(es.run(nothing, steps=1))


NASTY = [
    r"$\frac{a$",
    r"$\frac{a$ and $b$",
    r"\$\undefined$",
    "_hidden",
    "</text><script>alert(1)</script>",
    "{{ 7 * 7 }} {% raise %}",
    "\x1b[31m\x07\x00\u202e\x9b",
    "\ud800 lone",
    "& < > \" '",
    "x" * 900,
    "two\nlines",
    "猫 ☃ 🐈",
]


def nasty_files(folder):
    """A trace and an evaluation of which every name comes from somebody else."""
    net, data = small_network(classes=len(NASTY)), small_data(40, classes=len(NASTY))
    es.run(net, data[0], steps=6, trace=folder / "run.h5", about={"input": NASTY[0], "network": NASTY[4], "truth": 1})
    es.evaluate(net, data, folder / "eval.h5", workers=1).close()
    for path, group in ((folder / "run.h5", "eventsim"), (folder / "eval.h5", "/")):
        with h5py.File(path, "r+") as file:
            info = json.loads(bytes(file[group]["info"][()]))
            renamed = {"a": NASTY[0], "b": "<script>$x$ & _"}
            for p in info["populations"]:
                p["name"] = renamed.get(p["name"], p["name"])
            for p in info["projections"]:
                p["name"], p["source"], p["target"] = (
                    NASTY[1] + p["name"],
                    renamed.get(p["source"], p["source"]),
                    renamed.get(p["target"], p["target"]),
                )
            for e in info["encoders"]:
                e["population"] = renamed[e["population"]]
            info["labels"] = NASTY
            if path.name == "eval.h5":
                info["settings"] |= {"dataset": NASTY[4], "split": NASTY[6], "network": NASTY[5]}
            else:
                info["settings"]["recorded"] = []
                del file["spikes/b"]  # a name of a group cannot be anything
                file["spikes"].move("a", NASTY[0])
            del file[group]["info"]
            file[group].create_dataset("info", data=np.bytes_(json.dumps(info).encode()))
        change_and_reseal(path, lambda _: None)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_from_files_are_text_everywhere(tmp_path):
    """No mathematics, no markup, no template, no letters that are none: each label is drawn, and the page has no script."""
    nasty_files(tmp_path)
    for name in ("run", "eval"):
        done = CliRunner().invoke(
            main, ["report", str(tmp_path / f"{name}.h5"), "-o", str(tmp_path / f"{name}.html")], catch_exceptions=False
        )
        assert done.exit_code == 0, done.stderr
        text = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        reader = Reader()
        reader.feed(text)
        assert "script" not in reader.tags
        shown = "".join(reader.text)
        assert r"$\frac{a$" in shown
        assert r"$\frac{a$ and $b$" in shown
        assert "\x1b" not in text
        assert "\x07" not in text
        for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
            ET.fromstring(svg)  # well-formed by itself
    for name in ("run", "eval"):
        for command in (["info", str(tmp_path / f"{name}.h5")], None, ["--csv"], ["--json"]):
            program = main if command and command[0] == "info" else count_ops.main
            arguments = command if program is main else [str(tmp_path / f"{name}.h5"), *(command or [])]
            done = CliRunner().invoke(program, arguments, catch_exceptions=False)
            assert done.exit_code == 0
            assert r"$\frac{a$" in done.stdout.replace(r"\\", "\\")
            assert all(c.isprintable() or c == "\n" for c in done.stdout.replace("\r\n", "\n"))
    with es.Evaluation(tmp_path / "eval.h5") as e:
        axes = plot.confusion(e).axes[0]
        labels = [t.get_text() for t in axes.get_xticklabels()]
        assert len(labels) == len(NASTY)
        assert max(map(len, labels)) <= 45
    with es.Trace(tmp_path / "run.h5") as trace:
        legend = [t.get_text() for t in plot.readout(trace, top=len(NASTY)).axes[0].get_legend().get_texts()]
        # Every label is in the legend, and the decision.
        assert len(legend) == len(NASTY) + 1


def test_figures_are_written_as_png_and_svg(files, tmp_path):
    with es.Evaluation(files / "eval.h5") as e:
        for ending in ("png", "svg"):
            plot.trade_off({"one": e, "two": e}).savefig(tmp_path / f"x.{ending}")
    assert Image.open(tmp_path / "x.png").size[0] > 500
    assert ET.parse(tmp_path / "x.svg").getroot().tag.endswith("svg")


def test_errors_are_one_line(files, tmp_path):
    def call(*args):
        return CliRunner().invoke(main, ["report", *map(str, args)], catch_exceptions=False)

    (tmp_path / "x.h5").write_text("no")
    (tmp_path / "old.html").write_text("old")
    for args in ([tmp_path / "x.h5"], [tmp_path / "none.h5"], [files / "run.h5", "-o", tmp_path / "no" / "x.html"]):
        outcome = call(*args)
        assert outcome.exit_code == 1
        assert outcome.stderr.startswith("eventsim: error: ")
        assert outcome.stderr.count("\n") == 1


def test_a_data_set_that_is_named_is_looked_at(files, tmp_path):
    """Also where no image was answered wrongly, and nothing is to be shown."""
    data = small_data(9)
    with es.evaluate(small_network(), data, tmp_path / "eval.h5", workers=1) as found:
        data.labels = found.prediction.copy()
    es.evaluate(small_network(), data, tmp_path / "right.h5", workers=1).close()
    for place, name, message in ((tmp_path, "right.h5", "nowhere: neither a folder nor"), (files, "run.h5", "is a trace")):
        outcome = CliRunner().invoke(main, ["report", str(place / name), "-o", str(tmp_path / "x.html"), "-d", "nowhere"])
        assert outcome.exit_code == 1
        assert message in outcome.stderr
        assert not (tmp_path / "x.html").exists()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("name", ["eval", "lenet"])
def test_in_a_real_browser(files, tmp_path, name):
    """Headless Chromium lays the page out: pictures have a size, tables are read, the screen is not blank."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    page = f"file://{files / name}.html"
    shot = tmp_path / "shot.png"
    size = "--window-size=1000,3000"
    subprocess.run([CHROMIUM, *options, size, f"--screenshot={shot}", page], check=True, capture_output=True, timeout=600)
    pixels = np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3)
    colours = np.unique(pixels // 16, axis=0)
    assert len(colours) > 50
    assert 0.02 < np.any(pixels < 250, axis=1).mean() < 0.9
    text = subprocess.run([CHROMIUM, *options, "--dump-dom", page], check=True, capture_output=True, timeout=600, text=True).stdout
    assert text.count("<svg") == (files / f"{name}.html").read_text().count("<svg")
    assert "</table>" in text


def test_feature_maps_of_huge_populations_are_not_drawn(tmp_path, monkeypatch):
    """A trace of a few bytes can declare them."""
    from eventsim.analysis import report

    net = es.Network()
    net.driven("small", (2, 2, 1), 3)
    net.driven("large", (3, 3, 1), 3)
    es.run(net, {"small": [1] * 4, "large": [1] * 9}, steps=5, resolution=1, trace=tmp_path / "run.h5")
    monkeypatch.setattr(report, "MAX_MAPPED", 4)
    report.write_report(tmp_path / "run.h5", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Feature maps of small" in page
    assert "Feature maps of large" not in page


@pytest.mark.parametrize("steps", [40, 600])
def test_figures_of_long_runs_are_outlines(tmp_path, steps):
    """Of the same heights: a rectangle for each step would make a page that no browser shows."""
    plot = pytest.importorskip("eventsim.analysis.plot")
    net = small_network()
    result = es.run(net, small_data(1)[0], steps=steps, resolution=1)
    patches = plot.operations(result).axes[0].patches
    expected = result.counts.synaptic_events[:, :2].astype(float)
    if steps == 40:
        heights = np.array([bar.get_height() for bar in patches]).reshape(2, steps).T
    else:
        assert len(patches) == 2
        heights = np.diff([[0] * steps, *(patch.get_data().values for patch in patches)], axis=0).T
    np.testing.assert_array_equal(heights, expected)
    with es.evaluate(net, small_data(6), tmp_path / "e.h5", steps=steps, resolution=1, workers=1) as e:
        assert (len(plot.latency_histogram(e).axes[0].patches) < 10) == (steps == 600)
