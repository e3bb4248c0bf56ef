"""
A network of your own
=====================

``module`` takes any callable ``(n_features, n_outputs) -> torch.nn.Module``. Here a one-dimensional
convolution reads windows of a series; cross-validation, stacks and searches work as for any other
network.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import TimeSeriesSplit, cross_val_score
from torch import nn

from sklearn_dl import DLRegressor, batched_fits

# %%
# Two waves whose phase no single reading gives away, and noise; a row is a window of 48 readings,
# its target the reading that follows.
rng = np.random.default_rng(0)
t = np.arange(1500)
series = np.sin(t / 3.1) * np.sin(t / 41.0) + 0.1 * rng.standard_normal(len(t))
windows = np.lib.stride_tricks.sliding_window_view(series, 49)
X, y = windows[:, :-1], windows[:, -1]


def convolution(n_features: int, n_outputs: int) -> nn.Module:
    """Eight filters over nine readings each, twice; then a linear read-out."""
    n_windows = (n_features - 8 - 9) // 4 + 1
    return nn.Sequential(
        nn.Unflatten(1, (1, n_features)),
        nn.Conv1d(1, 8, kernel_size=9),
        nn.ReLU(),
        nn.Conv1d(8, 8, kernel_size=9, stride=4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * n_windows, n_outputs),
    )


# %%
# Later rows are held out, as in use.
model = DLRegressor(
    module=convolution, preprocessing="standard", learning_rate=1e-2, max_epochs=25, random_state=0
)
with batched_fits() as batches:
    scores = cross_val_score(model, X, y, cv=TimeSeriesSplit(4))
print(f"R2 on later readings {scores.round(3)}, stacks {batches.stacks}")

# %%
# The last stretch, forecast one reading ahead.
model.fit(X[:-120], y[:-120])
fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot(t[-120:], y[-120:], color="0.6", lw=3, label="series")
ax.plot(t[-120:], model.predict(X[-120:]), "k--", label="forecast, one ahead")
ax.set(xlabel="time (readings)", ylabel="reading")
ax.set_title(f"A convolution forecasts with R² = {scores.mean():.2f}; the noise allows 0.96")
ax.legend(ncols=2)
plt.show()

assert scores[-1] > 0.8
