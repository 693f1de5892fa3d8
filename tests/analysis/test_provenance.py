"""Reports say how they and their runs were made, by commands that really make them; and show what was answered wrongly."""

from __future__ import annotations

import base64
import io
import os
import re
import shlex

import numpy as np
import pytest
from click.testing import CliRunner
from judges.evaluations import small_data, small_network
from PIL import Image
from repository import ROOT

import eventsim as es
from eventsim.analysis import mistakes, provenance
from eventsim.analysis.mistakes import some_mistakes
from eventsim.analysis.report import write_report
from eventsim.cli.main import main
from eventsim.data import datasets
from eventsim.data.image_sets import ArrayDataset


def call(*args, fails=False):
    done = CliRunner().invoke(main, [str(a) for a in args], catch_exceptions=False)
    assert (done.exit_code != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def read(path):
    text = path.read_text(encoding="utf-8")
    return re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", text, flags=re.DOTALL).replace("&#39;", "'")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of images in two classes, a network, and this folder as the one we are in."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    for label in range(2):
        folder = tmp_path / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / f"{i}.png")
    es.save(small_network(), "my net.h5")
    (tmp_path / "chip.toml").write_text((ROOT / "docs" / "examples" / "crossbars.toml").read_text())
    return tmp_path


RUNS = [
    [],
    ["--clocked", "--steps", "4"],
    ["--resolution", "7", "--exit-margin", "9"],
    ["--exit-potential", "30", "--steps", "9"],
    ["--encoding", "poisson", "--seed", "5"],
    ["--invert", "--crop", "--max-spikes", "5000"],
    ["--hardware", "truenorth", "--closed", "--seed", "2"],
    ["--hardware", "chip.toml", "--clocked"],  # whose converters change what is answered
    ["--record", "b", "--potentials", "a,b"],
    ["--record", "b,a", "--potentials", "all"],
]


@pytest.mark.parametrize("options", RUNS)
def test_the_command_of_a_run_makes_it_again(photos, options):
    call("run", "my net.h5", "--input", "photos/class0/1.png", "--trace", "run.h5", *options)
    with es.Trace("run.h5") as first:
        command = provenance.run_command(first)
        assert first.made_by == provenance.program() == f"eventsim {es.__version__}"
        call(*shlex.split(command)[1:], "--trace", "again.h5")
        with es.Trace("again.h5") as again:
            assert provenance.run_command(again) == command
            assert again.info.settings | {"wall_seconds": 0} == first.info.settings | {"wall_seconds": 0}
            assert np.array_equal(again.readout, first.readout)
            assert all(np.array_equal(x, y) for x, y in zip(again.spikes("b"), first.spikes("b"), strict=True))


def test_the_command_of_a_run_by_population(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = es.Network()
    net.source("s", 2, "poisson", rate=0.5)
    net.driven("d", 2, 5)
    es.save(net, "net.h5")
    np.save("d.npy", np.array([3, 4]))
    call("run", "net.h5", "--input", "d=d.npy", "--seed", "3", "--steps", "5", "--trace", "run.h5")
    with es.Trace("run.h5") as first:
        assert provenance.run_command(first) == "eventsim run net.h5 --input d=d.npy --steps 5 --seed 3"
        call(*shlex.split(provenance.run_command(first))[1:], "--trace", "again.h5")
        with es.Trace("again.h5") as again:
            assert np.array_equal(again.counts.spikes, first.counts.spikes)
    assert first.total_spikes


EVALUATIONS = [
    [],
    ["--images", "5", "--clocked"],
    ["--images", "1", "--no-trade-off"],
    ["--images", "2", "--hardware", "truenorth"],
    ["--exit-margin", "12", "--steps", "3", "--resolution", "100"],
]


@pytest.mark.parametrize("options", EVALUATIONS)
def test_the_command_of_an_evaluation_makes_it_again(photos, options):
    call("evaluate", "my net.h5", "-d", "photos", "-o", "e.h5", "--workers", "1", *options)
    with es.Evaluation("e.h5") as e:
        command = provenance.evaluate_command(e)
        assert e.info.settings["dataset"] == "photos"
        assert command.startswith("eventsim evaluate 'my net.h5' --dataset photos --split all --")
        call(*shlex.split(command)[1:], "-o", "again.h5", "--workers", "1")
        with es.Evaluation("again.h5") as again:
            assert again.key == e.key
            assert again.info == e.info


def test_the_command_of_an_evaluation_names_the_folder(photos):
    """Also one that is called as a known set, which wins over a folder of this name."""
    (photos / "my").mkdir()
    (photos / "photos").rename(photos / "my" / "mnist")
    call("evaluate", "my net.h5", "-d", "my/mnist", "-o", "e.h5", "--workers", "1")
    with es.Evaluation("e.h5") as e:
        assert e.info.settings["dataset"] == "mnist"
        command = provenance.evaluate_command(e)
        assert "--dataset my/mnist " in command
        call(*shlex.split(command)[1:], "-o", "again.h5", "--workers", "1")
        with es.Evaluation("again.h5") as again:
            assert again.key == e.key


def test_what_no_command_makes_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, data = small_network(), small_data(10)
    es.save(net, tmp_path / "net.h5")
    es.run(net, data[0], steps=2, trace=tmp_path / "run.h5")
    with es.Trace(tmp_path / "run.h5") as trace:
        assert provenance.run_command(trace) is None
    np.save("batch.npy", data.arrays()[0][:2])
    call("run", "net.h5", "--input", "batch.npy", "--trace", "runs")
    for path in (tmp_path / "runs").iterdir():
        with es.Trace(path) as trace:
            assert provenance.run_command(trace) is None
    with es.evaluate(tmp_path / "net.h5", data, tmp_path / "python.h5", workers=1) as e:
        assert provenance.evaluate_command(e) is None
    data.opened_as = data.name
    for network, images in ((net, None), (tmp_path / "net.h5", [1, 2, 3]), (tmp_path / "net.h5", range(5)), (tmp_path / "net.h5", [0, 0])):
        with es.evaluate(network, data, tmp_path / "e.h5", images=images, workers=1) as e:
            assert provenance.evaluate_command(e) is None
        (tmp_path / "e.h5").unlink()
    with es.evaluate(tmp_path / "net.h5", data, tmp_path / "e.h5", images=range(10), workers=1) as e:
        assert "--images" not in provenance.evaluate_command(e)


def test_a_page_says_how_it_was_made_and_can_be_made_again(photos, monkeypatch):
    call("run", "my net.h5", "--input", "photos/class0/1.png", "--trace", "run.h5")
    call("evaluate", "my net.h5", "-d", "photos", "-o", "eval.h5", "--workers", "1")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86460")
    for name, command in (
        ("run", "eventsim run 'my net.h5' --input photos/class0/1.png --steps 6"),
        ("eval", "eventsim evaluate 'my net.h5'"),
    ):
        call("report", f"{name}.h5", "-o", "a page.html")
        first = (photos / "a page.html").read_bytes()
        text = read(photos / "a page.html")
        assert f"{provenance.program()}, 1970-01-02 00:01 UTC: <code>eventsim report {name}.h5 --output 'a page.html'</code>" in text
        assert command in text
        os.utime(f"{name}.h5", (4e9, 4e9))
        call("report", f"{name}.h5", "-o", "a page.html")
        assert (photos / "a page.html").read_bytes() == first
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    os.utime("run.h5", (1e9, 1e9))
    call("report", "run.h5", "-o", "a page.html")
    assert "2001-09-09 01:46 UTC" in read(photos / "a page.html")
    assert provenance.date()[:14] in read(photos / "a page.html")
    for wrong in ("-1", "soon", "1" * 12, "٣"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        assert "SOURCE_DATE_EPOCH" in call("report", "run.h5", fails=True)


def test_a_page_replaces_pages_only(photos):
    call("run", "my net.h5", "--input", "photos/class0/1.png", "--trace", "run.h5")
    (photos / "notes.txt").write_text("precious")
    before = {name: (photos / name).read_bytes() for name in ("run.h5", "my net.h5", "notes.txt")}
    for name in before:
        message = call("report", "run.h5", "-o", name, fails=True)
        assert name in message
        assert "name another output" in message
    assert {name: (photos / name).read_bytes() for name in before} == before
    os.mkfifo(photos / "pipe")
    (photos / "folder").mkdir()
    for name in ("pipe", "folder"):
        assert "no regular file" in call("report", "run.h5", "-o", name, fails=True)
    (photos / "empty.html").touch()
    for _ in range(2):
        call("report", "run.h5", "-o", "empty.html")
    assert len(list(photos.glob(".*"))) == 0


def test_costs_of_memory_routing_and_neurons_in_a_page(photos):
    call("run", "my net.h5", "--input", "photos/class0/1.png", "--trace", "run.h5")
    call("report", "run.h5", "-o", "usual.html")
    assert "routing" not in read(photos / "usual.html")
    (photos / "costs.json").write_text('{"name": "mine & <yours>", "memory_read": 1000000, "routing": 2000000, "neuron_update": 3000000}')
    call("report", "run.h5", "-o", "own.html", "--costs", "costs.json")
    text = read(photos / "own.html")
    assert "mine &amp; &lt;yours&gt;" in text
    with es.Trace("run.h5") as trace:
        first = trace.info.encoders[0].macs
        events = int(trace.counts.synaptic_events.sum())
        routed = sum(int(trace.counts.deliveries[:, i].sum()) for i, p in enumerate(trace.info.projections) if not p.bias)
        neurons = sum(p.size for p in trace.info.populations if p.kind != "source") * 6
    row = next(line for line in text.splitlines() if "<td>int8</td>" in line)
    cells = [float(c.replace(",", "")) for c in re.findall(r"<td>([0-9.,]+)</td>", row)]
    assert cells[1:4] == [first + events, 2 * routed, 3 * neurons]
    assert cells[4] == pytest.approx(sum(cells[:4]), abs=0.01)
    (photos / "costs.json").write_text("[]")
    assert "costs.json" in call("report", "run.h5", "-o", "own.html", "--costs", "costs.json", fails=True)


def shown_images(text):
    """(words, pixels) of the images of a page."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]*)" alt="image ([^"]*)">', text)
    return [(words, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))) for data, words in found]


def test_wrong_answers_are_shown_with_their_images(tmp_path):
    net, data = small_network(), small_data(90)
    with es.evaluate(net, data, tmp_path / "e.h5", images=[*range(10, 80), 3], workers=1) as e:
        wrong = [
            (int(k), int(p), float(t)) for k, p, t in zip(e.image, e.prediction, e.decision_latency(), strict=True) if p != data.labels[k]
        ]
        assert len(wrong) > 40
        found = some_mistakes(e, data)
        assert len(found) == 32
        told = {k: (p, t) for k, p, t in wrong}
        for m in found:
            answer, latency = told[m.number]
            assert (m.truth, m.answer, m.latency) == (data.classes[data.labels[m.number]], data.classes[answer], latency)
            assert np.array_equal(m.pixels, data[m.number])
        # From the first to the last of them, each once.
        assert (found[0].number, found[-1].number) == (wrong[0][0], wrong[-1][0])
        assert len({m.number for m in found}) == 32
        assert [m.number for m in some_mistakes(e, data, most=1000)] == [k for k, _, _ in wrong]
        other = small_data(90, seed=9)
        for changed in (
            other,
            small_data(20),
            ArrayDataset("made", "test", data.classes, data.arrays()[0], other.labels),
            ArrayDataset("made", "test", data.classes, other.arrays()[0], data.labels),
        ):
            with pytest.raises(es.DatasetError, match="not those that were evaluated"):
                some_mistakes(e, changed)


def test_wrong_answers_in_the_page(photos):
    call("evaluate", "my net.h5", "-d", "photos", "-o", "eval.h5", "--workers", "1")
    call("report", "eval.h5", "-o", "a.html")
    with es.Evaluation("eval.h5") as e:
        wrong = np.flatnonzero(e.wrong())
        answers = [e.label_of(int(e.prediction[i])) for i in wrong]
    assert 0 < len(wrong) < 12
    # A folder that a file names is not opened; the one that the user names is.
    text = read(photos / "a.html")
    assert f"{len(wrong)} of 12 images were answered wrongly. They cannot be shown: the data set 'photos' is a folder" in text
    assert not shown_images(text)
    call("report", "eval.h5", "-o", "a.html", "--dataset", "photos")
    found = shown_images(read(photos / "a.html"))
    assert len(found) == len(wrong)
    for i, answer, (words, pixels) in zip(wrong, answers, found, strict=True):
        assert words.startswith(f"{i}: class{i // 6}, answer {answer}, decided at ")
        assert np.array_equal(pixels, np.asarray(Image.open(photos / "photos" / f"class{i // 6}" / f"{i % 6}.png")))
    (photos / "photos" / "class1" / "5.png").write_bytes((photos / "photos" / "class0" / "5.png").read_bytes())
    assert "not those that were evaluated" in call("report", "eval.h5", "-o", "a.html", "--dataset", "photos", fails=True)
    assert "neither a folder nor" in call("report", "eval.h5", "-o", "a.html", "--dataset", "nothing", fails=True)


def test_known_sets_are_found_by_name(tmp_path, monkeypatch):
    """As the evaluation names it; a set that is not there is said, not an error."""
    data = small_data(12)
    known = ArrayDataset("mnist", "test", data.classes, *data.arrays())
    es.evaluate(small_network(), known, tmp_path / "e.h5", workers=1).close()
    monkeypatch.setattr(mistakes, "open_dataset", lambda name, split: known if (name, split) == ("mnist", "test") else None)
    write_report(tmp_path / "e.h5", tmp_path / "a.html")
    assert shown_images(read(tmp_path / "a.html"))
    monkeypatch.setattr(mistakes, "open_dataset", datasets.open_dataset)
    monkeypatch.setenv("EVENTSIM_DATA", str(tmp_path))
    write_report(tmp_path / "e.h5", tmp_path / "a.html")
    assert "They cannot be shown: " in read(tmp_path / "a.html")
    assert not shown_images(read(tmp_path / "a.html"))


def test_nothing_wrong_and_no_labels(tmp_path):
    net, data = small_network(), small_data(6)
    with es.evaluate(net, data, tmp_path / "e.h5", workers=1) as e:
        right = ArrayDataset("made", "test", data.classes, data.arrays()[0], e.prediction.astype(np.int64))
    es.evaluate(net, right, tmp_path / "right.h5", workers=1).close()
    write_report(tmp_path / "right.h5", tmp_path / "a.html")
    assert "All images were answered rightly." in read(tmp_path / "a.html")
    es.evaluate(net, ArrayDataset("made", "test", [], data.arrays()[0], None), tmp_path / "none.h5", workers=1).close()
    write_report(tmp_path / "none.h5", tmp_path / "a.html")
    assert "Wrong answers" not in read(tmp_path / "a.html")
