"""
What momentum does
==================

In a long valley the gradient points across, not along. Momentum adds up what successive gradients
agree on: the weights roll along the valley, and roll on where the gradient is nearly zero. Two
measurements: a linear regression whose curvatures differ by a factor of a thousand, and the way out
of a saddle point.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch.nn import Linear, Sequential

from sklearn_dl import PLAIN, DLRegressor
from sklearn_dl.curvature import hessian_extremes, saddle_race

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # stopped on purpose
rng = np.random.default_rng(0)
X = rng.standard_normal((200, 2)) * [1.0, 1 / 30]
y = X @ [1.0, 30.0]
plain = PLAIN | {"hidden_layer_sizes": (), "preprocessing": None, "optimizer": "sgd"}
options = {**plain, "batch_size": 200, "max_epochs": 300, "dtype": "float64", "random_state": 0}

# %%
# Full batches, each at half the largest rate that is stable with its momentum, 2 (1 + m) / lambda
# (Polyak 1964).
ends = hessian_extremes(DLRegressor(**options).fit(X, y), X, y, random_state=0)
low, high = max(ends.eigenvalue_min, 1e-4), ends.eigenvalue_max
print(f"curvatures from {low:.2g} to {high:.2g}")
curves = {}
for momentum in (0.0, 0.9):
    rate = (1 + momentum) / high
    model = DLRegressor(**options, momentum=momentum, learning_rate=rate).fit(X, y)
    curves[momentum] = model.history_["train_loss"]

# %%
# The saddle of y = w1 w2 x: ten starts near it, the same for all.
net = Sequential(Linear(1, 1, bias=False), Linear(1, 1, bias=False))
for weight in net.parameters():
    torch.nn.init.zeros_(weight)
inputs = torch.as_tensor(rng.standard_normal((64, 1)))
target = inputs + 0.3 * torch.as_tensor(rng.standard_normal((64, 1)))
race = saddle_race(
    net, lambda f, t: ((f - t) ** 2).mean(-1), inputs, target, batch_size=8, random_state=0
)
print(race.groupby("runner", sort=False)[["left", "steps"]].mean())

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for (momentum, curve), style in zip(curves.items(), ("--", "-"), strict=True):
    axes[0].plot(curve, style, color="black", label=f"momentum {momentum:g}")
axes[0].set(xlabel="epoch (one step each)", ylabel="training loss (squared units)", yscale="log")
ratio = curves[0.0].iloc[-1] / curves[0.9].iloc[-1]
axes[0].set_title(f"In a valley momentum ends {ratio:.0e} times lower")
axes[0].legend()
names = list(race["runner"].unique())
steps = [race.loc[race["runner"] == name, "steps"] for name in names]
axes[1].boxplot(steps, tick_labels=names, medianprops={"color": "black"})
axes[1].set(ylabel="steps until it had left", yscale="log")
median = race.groupby("runner")["steps"].median()
sooner = median["full batch"] / median["momentum"]
axes[1].set_title(f"... and leaves a saddle point {sooner:.1f} times sooner")
plt.show()

assert curves[0.9].iloc[-1] < 0.1 * curves[0.0].iloc[-1]
assert median["hessian step"] < median["momentum"] < median["full batch"]
