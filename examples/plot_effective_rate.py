"""
The effective rate of each weight under RMSProp
===============================================

RMSProp divides the learning rate by the root of each weight's recent squared gradient, so every
weight has a rate of its own. Here it is seen at work: a line through two columns, one in units a
hundred times as large as the other's, and the rate that each weight really moved with.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch

from sklearn_dl import PLAIN, DLRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 2)) * [10, 0.1]
y = X @ [0.1, 10.0] + 0.1 * rng.standard_normal(200)
rates = []


class WatchedRMSprop(torch.optim.RMSprop):
    """torch's RMSprop that notes ``lr / (sqrt(v) + eps)`` of the two slopes at every step."""

    def step(self, closure=None):
        """Move the weights."""
        loss = super().step(closure)
        (group,) = self.param_groups
        slopes = self.state[group["params"][0]]["square_avg"].flatten()[:2]
        rates.append((group["lr"] / (slopes.sqrt() + group["eps"])).tolist())
        return loss


# %%
# Columns and target go in as they come; the network is the linear one.
settings = {"preprocessing": None, "hidden_layer_sizes": (), "dtype": "float64", "batch_size": 20}
line = DLRegressor(
    **PLAIN | settings,
    optimizer=partial(WatchedRMSprop, alpha=0.9),
    learning_rate=0.05,
    max_epochs=40,
    random_state=0,
).fit(X, y)

# %%
# The square of the gradient grows with the square of the column's unit; the rate divides it out.
watched = np.array(rates)
epochs = np.arange(1, len(watched) + 1) / (len(watched) / 40)
ratio = np.median(watched[:, 1] / watched[:, 0])
fig, ax = plt.subplots(layout="constrained")
for k, (style, name) in enumerate((("-", "10"), ("--", "0.1"))):
    ax.plot(epochs, watched[:, k], style, color="k", label=f"weight of the column of scale {name}")
ax.axhline(line.learning_rate, color="0.6", ls=":", label="learning_rate")
ax.set(yscale="log", xlabel="epoch", ylabel="effective rate (step per unit of gradient)")
ax.set_title(f"The column of scale 0.1 moves at {ratio:.0f} times the rate of the other")
ax.legend()
plt.show()

assert ratio > 10
assert line.score(X, y) > 0.95
