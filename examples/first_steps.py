"""From a PyTorch network with binary weights to its answer, latency, costs and trade-off curve: five minutes.

    python examples/first_steps.py

VS Code and Jupyter (with jupytext) open this file as a notebook. The first part needs eventsim alone, the others PyTorch
(`pip install '.[train]'`), and the picture at the end matplotlib (`pip install '.[plot]'`).
"""

# %% [markdown]
# ## 1. A network that comes with eventsim
# `lenet-mnist` tells handwritten digits apart. One run gives the answer, when it came, and what it cost.

# %%
import numpy as np
from PIL import Image

import eventsim as es
from eventsim.analysis.counting import count_operations
from eventsim.data.samples import sample_files

files = sample_files()  # by name; `eventsim data get samples` copies them into the current folder
digits = np.stack([np.asarray(Image.open(files[f"datasets/samples/digit-{label}.png"])) for label in range(10)])
lenet = es.load(files["networks/lenet-mnist.h5"])
result = es.run(lenet, digits[7])
print(f"answer {result.label}, decided at {result.decision_latency:.3f} of {result.info.steps} steps, {result.total_spikes:,} spikes")

# %% [markdown]
# What a run costs has several definitions in the literature (docs/definitions.md). Here are four, summed over all layers.

# %%


def show_costs(run):
    counts = count_operations([run]).synapses
    print(f"synaptic events        {counts.synaptic_events:12,}")
    print(f"additions              {counts.additions:12,}")
    print(f"SNN Toolbox            {counts.toolbox:12,}")
    print(f"NeuroBench ACs         {counts.neurobench_acs:12,}")
    print(f"(the source network's multiply-accumulates: {counts.macs:,})")


show_costs(result)

# %% [markdown]
# ## 2. A network of your own
# Any PyTorch module made of the usual layers does; binary weights are recognised by their values. This one has binary weights in its hidden
# layer and learns ten digits, shifted and noisy.

# %%
import sys

try:
    import torch
except ImportError:
    print("the rest needs PyTorch: pip install torch")
    sys.exit()
import torch.nn.functional as F
from torch import nn


class BinaryLinear(nn.Linear):
    """Weights alpha * sign(w), one alpha per neuron; the gradient passes straight through."""

    def forward(self, x):
        alpha = self.weight.abs().mean(1, keepdim=True)
        binary = alpha * torch.where(self.weight < 0, -1.0, 1.0)
        return F.linear(x, self.weight + (binary - self.weight).detach())


def make_images(count, seed):
    """Noisy digits, shifted by up to two pixels: uint8 (count, 28, 28, 1) and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    shifted = [np.roll(digits[label], rng.integers(-2, 3, 2), (0, 1)) for label in labels]
    noisy = np.stack(shifted) + rng.normal(0, 60, (count, 28, 28))
    return noisy.clip(0, 255).astype(np.uint8)[..., None], labels


images, labels = make_images(2000, seed=0)
x, y = torch.from_numpy(images).float().flatten(1) / 255, torch.from_numpy(labels)
torch.manual_seed(0)
model = nn.Sequential(
    nn.Flatten(), nn.Linear(784, 64, bias=False), nn.ReLU(), BinaryLinear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 10, bias=False)
)
optimiser = torch.optim.Adam(model.parameters(), 2e-3)
for _ in range(300):
    pick = torch.randint(len(x), (128,))
    loss = F.cross_entropy(model(x[pick]), y[pick])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# %% [markdown]
# ## 3. Conversion
# Every rounding happens here; the report says how large it was. From now on all is exact.

# %%
made = es.convert(model.eval(), images[:500], labels=[str(label) for label in range(10)])
print(made.report)
result = es.run(made.network, digits[3], steps=24)
print(f"answer {result.label}, decided at {result.decision_latency:.3f} of {result.info.steps} steps, {result.total_spikes:,} spikes")
show_costs(result)

# %% [markdown]
# ## 4. Many images, and when to stop
# An evaluation keeps what every threshold of an exit rule would have given, so one run of the images gives the whole trade-off curve.

# %%
import tempfile
from pathlib import Path

from eventsim.data.image_sets import ArrayDataset

test = ArrayDataset("noisy digits", "test", [str(label) for label in range(10)], *make_images(100, seed=1))
folder = Path(tempfile.mkdtemp())
evaluation = es.evaluate(made.network, test, folder / "eval.h5", steps=24, workers=1)
print(evaluation)
curve = evaluation.trade_off("margin")
print("margin   accuracy   latency   synaptic events")
for i in np.linspace(0, len(curve.threshold) - 1, 8).astype(int):
    print(f"{curve.threshold[i]:6,}   {curve.accuracy[i]:8.1%}   {curve.latency[i]:7.3f}   {curve.synaptic_events[i]:15,.0f}")

# %%
try:
    from eventsim import plot

    plot.trade_off({"noisy digits": evaluation}).savefig("trade-off.svg")
except ImportError:
    print("the picture needs matplotlib: pip install '.[plot]'")
else:
    print("trade-off.svg shows the curve")
