"""Muon, for weights of hidden layers: momentum whose update is made orthogonal (Jordan et al., "Muon: An optimizer for hidden layers in
neural networks", 2024). PyTorch's own takes matrices only and computes always in bfloat16, which processors without it only imitate."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Of the fifth-order iteration; the singular values of what it makes are near 1, not 1.
_FIRST, _THIRD, _FIFTH = 3.4445, -4.7750, 2.0315


def orthogonalise(matrix: Tensor, iterations: int = 3, half: bool = False) -> Tensor:
    """A matrix with the singular vectors of ``matrix`` (rows, columns) and singular values near 1, by Newton-Schulz iterations (in
    bfloat16, if ``half``)."""
    wide = len(matrix) <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    x = x.to(torch.bfloat16) if half else x
    # All iterations are polynomials of one square matrix, which is small; so the matrix itself is multiplied twice in all.
    square = x @ x.T
    whole = None
    for i in range(iterations):
        factor = _THIRD * square + _FIFTH * (square @ square)
        factor.diagonal().add_(_FIRST)
        whole = factor if whole is None else factor @ whole
        if i + 1 < iterations:
            square = factor @ square @ factor
    x = whole @ x if whole is not None else x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal as a matrix of (outputs, inputs), on weights that are kept at a norm of sqrt(outputs), as in
    Jordan's training of CIFAR-10: so the rate says by which share a weight changes in a step. It is for weights whose scale does not
    matter, such as those before batch norm.

    Parameters
    ----------
    weights : iterable of Parameter, shape (outputs, inputs) or (outputs, inputs, height, width)
    lr, momentum : float
    half : bool
        Whether updates are computed in bfloat16.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.85, half: bool = False):
        super().__init__(weights, {"lr": lr, "momentum": momentum})
        self.half = half

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                moment = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                # (Channels last, as training keeps them: so the matrix is what lies in memory.)
                update = weight.grad.add(moment, alpha=group["momentum"]).movedim(1, -1)
                update = orthogonalise(update.flatten(1), half=self.half).view(update.shape).movedim(-1, 1)
                weight.mul_(len(weight) ** 0.5 / weight.norm()).sub_(update, alpha=group["lr"])
