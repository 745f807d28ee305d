"""Linear maps of low rank, fitted in closed form from sums that grow with the data.

Reduced-rank regression (A. J. Izenman, Reduced-rank regression for the multivariate linear model,
Journal of Multivariate Analysis 5, 1975): of all maps of rank r, the one with the least squared
error is the unrestricted one, projected onto the r leading principal directions of what it
predicts. The unrestricted one is ridge regression on inputs of unit variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_SMALLEST_PART = 1e-6  # of the largest deviation: an input that varies less says nothing


@dataclass(frozen=True)
class LowRankMap:
    """y = b (a x) + bias.

    Attributes:
        a: float32 [rank, inputs].
        b: float32 [outputs, rank].
        bias: float32 [outputs].
    """

    a: Floats
    b: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """The outputs, float32 [rows, outputs], for x float32 [rows, inputs]."""
        y: Floats = (x @ self.a.T) @ self.b.T + self.bias
        return y


class Moments:
    """Sums over rows of inputs and outputs, which is all that a fit needs.

    Args:
        inputs: width of a row of x.
        outputs: width of a row of y.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.inputs = inputs
        self.rows = 0
        # float32: half the memory, and products of a few hundred rows are added at a time.
        self._xx = np.zeros((inputs, inputs), np.float32)
        self._xy = np.zeros((inputs, outputs), np.float32)
        self._x = np.zeros(inputs)
        self._y = np.zeros(outputs)
        # Rows count from here, near their mean, so that no digits are lost to a large one.
        self._origin = np.zeros(inputs, np.float32)

    def add(self, x: Floats, y: Floats) -> None:
        """Count rows: x float32 [rows, inputs] with y float32 [rows, outputs]."""
        if self.rows == 0:
            self._origin = x.mean(axis=0)
        self.rows += len(x)
        x = x - self._origin
        self._xx += x.T @ x
        self._xy += x.T @ y
        self._x += x.sum(axis=0, dtype=np.float64)
        self._y += y.sum(axis=0, dtype=np.float64)

    def fit(self, rank: int, ridge: float) -> LowRankMap:
        """The map of at most `rank` that predicts y from x.

        Args:
            rank: at least 1; no more than min(inputs, outputs) are of use.
            ridge: penalty on the squared weights of standardised inputs, for each row.
        """
        assert self.rows > 1, "a fit needs rows"
        mean_x, mean_y = self._x / self.rows, self._y / self.rows
        xx = self._xx / self.rows - np.outer(mean_x, mean_x)
        xy = self._xy / self.rows - np.outer(mean_x, mean_y)
        deviation = np.sqrt(np.maximum(np.diag(xx), 0))
        varies = deviation > deviation.max(initial=0) * _SMALLEST_PART
        scale = np.where(varies, 1 / np.where(varies, deviation, 1), 0)
        xx = xx * np.outer(scale, scale)
        xy = xy * scale[:, None]
        weights = np.linalg.solve(xx + ridge * np.eye(len(xx)), xy)
        # Principal directions of the predictions, from their covariance.
        _, directions = np.linalg.eigh(weights.T @ xx @ weights)
        leading = directions[:, ::-1][:, : min(rank, *weights.shape)]
        a = (weights @ leading).T * scale
        bias = mean_y - leading @ (a @ (mean_x + self._origin))
        return LowRankMap(*(np.ascontiguousarray(m, np.float32) for m in (a, leading, bias)))
