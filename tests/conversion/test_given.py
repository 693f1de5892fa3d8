"""What a conversion is given beside the network: what is probably meant otherwise is refused, with advice that helps."""

from __future__ import annotations

import numpy as np
import pytest
from judges.graphs import random_graph

import eventsim as es

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
FLOATS = IMAGES / 255


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (FLOATS, r"found float64 \(6, 8, 8, 3\) in 0..1; give \(images \* 255\).round\(\).astype\(numpy.uint8\)"),
        (FLOATS.astype(np.float32), "give .images . 255"),
        (FLOATS * 2 - 1, r"before any normalisation \(see mean and std\)"),
        (IMAGES.astype(np.int64), r"int64 \(6, 8, 8, 3\) within 0..255; give images.astype\(numpy.uint8\)"),
        (IMAGES.astype(np.int64) - 128, "before any normalisation"),
        (IMAGES.transpose(0, 3, 1, 2), r"the calibration images have \(3, 8, 8\); give images.transpose\(0, 2, 3, 1\)"),
        (IMAGES[..., 0], r"give images\[..., None\] if they are grey"),
        (IMAGES[0], r"image\[None\] if it is a single one"),
        (IMAGES[0, :, :, 0], r"give vectors\[:, None, None, :\]"),
        ((IMAGES > 128).astype(np.uint8), "pixels are 0..255; were they scaled to 0..1"),
        (IMAGES[:0], "must be uint8"),
        ("mnist", "must be uint8"),
        (IMAGES[:, :7], r"the network takes images of shape \(8, 8, 3\), the calibration images have \(7, 8, 3\)"),
    ],
)
def test_images(images, advice):
    with pytest.raises(es.ConversionError, match=advice):
        es.convert(random_graph(1), images)


def test_what_the_advice_on_images_says_works():
    expected = es.convert(random_graph(1), IMAGES, check=False).ranges
    for images in ((FLOATS * 255).round().astype(np.uint8), IMAGES.astype(np.int64).astype(np.uint8)):
        assert es.convert(random_graph(1), images, check=False).ranges == expected


@pytest.mark.parametrize(("percentile", "meant"), [(0.999, "99.9"), (0.5, "50")])
def test_a_percentile_that_is_a_share(percentile, meant):
    with pytest.raises(es.ConversionError, match=f"a percentile is in percent: .* give {meant}$"):
        es.convert(random_graph(1), IMAGES, percentile=percentile)


def test_one_percent_is_a_percentile():
    assert es.convert(random_graph(1), IMAGES, percentile=1, check=False).report.settings["percentile"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}, "those of pixels in 0..255 have to be divided by 255"),
        ({"mean": 127.5}, "have to be divided by 255"),
        ({"std": 255}, "have to be divided by 255"),
        ({"mean": (0.5, 0.5)}, "mean must be a finite number, or 3 of them"),
        ({"labels": ["a", "b"]}, "2 labels for 5 outputs; give one for each"),
        ({"labels": "abcde"}, "labels are a list of names"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"steps": 8.0}, "steps must be a whole number"),
        ({"input_shape": (8, 8, 3)}, r"the input's shape is \(8, 8, 3\), that of the calibration images .* = \(3, 8, 8\)"),
    ],
)
def test_settings(settings, message):
    with pytest.raises(es.ConversionError, match=message):
        es.convert(random_graph(1), IMAGES, **settings)


def test_what_is_meant_is_taken():
    made = es.convert(random_graph(1), IMAGES, mean=(-1.0, 0.5, 1.0), std=(2, 1, 1), labels=["a", "b", "c", "d", "e"], steps=4)
    assert made.network.labels == ["a", "b", "c", "d", "e"]
    assert made.network.provenance["steps"] == 4
    assert es.run(made.network, IMAGES[0]).info.steps == 4
    # The network of seven inputs, (n, 1, 1, features), is no image with channels first.
    features = np.random.default_rng(1).integers(0, 256, (6, 1, 1, 8), dtype=np.uint8)
    with pytest.raises(es.ConversionError, match="the network takes images of shape"):
        es.convert(random_graph(1), features)


@pytest.mark.parametrize(("levels", "steps"), [(0, None), (4, 8), (60, 100)])
def test_quantised_networks_recommend_twice_as_many_steps_as_levels(levels, steps):
    assert es.convert(random_graph(1, levels), IMAGES, check=False).network.provenance.get("steps") == steps


def test_a_path_is_converted(tmp_path):
    onnx = pytest.importorskip("onnx")
    weights = np.random.default_rng(0).choice([-0.5, 0.5], (4, 192)).astype(np.float32)
    last = np.eye(4, dtype=np.float32)
    nodes = [("Flatten", ["x"], ["f"]), ("Gemm", ["f", "w"], ["z"]), ("Relu", ["z"], ["a"]), ("MatMul", ["a", "l"], ["y"])]
    made = [onnx.helper.make_node(op, i, o, **({"transB": 1} if op == "Gemm" else {})) for op, i, o in nodes]
    values = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", (1, 3, 8, 8)), ("y", (1, 4)))]
    given = [onnx.numpy_helper.from_array(array, name) for name, array in (("w", weights), ("l", last))]
    graph = onnx.helper.make_graph(made, "net", values[:1], values[1:], given)
    path = tmp_path / "net.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    converted = [es.convert(name, IMAGES) for name in (path, str(path))]
    flat = IMAGES.transpose(0, 3, 1, 2).reshape(6, -1) / 255
    for each in converted:
        np.testing.assert_allclose(each.evaluate(IMAGES), np.maximum(flat @ weights.T, 0), rtol=1e-5, atol=1e-5)
    with pytest.raises(es.ConversionError, match="no such file"):
        es.convert(tmp_path / "nowhere.onnx", IMAGES)
    (tmp_path / "net.pt").write_bytes(b"")
    with pytest.raises(es.ConversionError, match="in Python: the module"):
        es.convert(tmp_path / "net.pt", IMAGES)


def test_images_alone_say_what_a_module_takes():
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(3).integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    layers = torch.nn.Conv2d(8, 3, (1, 3)), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(18, 3)
    sequence = torch.nn.Sequential(*layers).eval()
    with pytest.raises(es.ConversionError, match=r"looks like channels first; give .*, or the input's shape if it is \(8, 1, 8\)"):
        es.convert(sequence, images)
    made = es.convert(sequence, images, input_shape=(8, 1, 8))
    expected = sequence(torch.from_numpy(images.transpose(0, 3, 1, 2) / 255).float()).detach().numpy()
    np.testing.assert_allclose(made.evaluate(images), expected, atol=1e-5)
