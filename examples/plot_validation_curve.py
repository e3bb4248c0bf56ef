"""
From too simple to too complex
==============================

The textbook's two curves: the more hidden units, the lower the training loss; the held-out loss
falls, and rises again once the network begins to learn the rows by heart.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import StratifiedKFold, validation_curve

from sklearn_dl import PLAIN, DLClassifier, batched_fits

X, y = make_moons(160, noise=0.35, random_state=0)

# %%
# Plain networks without any regularisation, trained for long with Adam.
model = DLClassifier(
    **PLAIN | {"max_epochs": 250, "batch_size": 32, "learning_rate": 5e-3}, random_state=0
)
widths = [1, 2, 4, 8, 32, 128]
with batched_fits():
    train, held_out = validation_curve(
        model, X, y, param_name="hidden_layer_sizes", param_range=[(w, w) for w in widths],
        cv=StratifiedKFold(5, shuffle=True, random_state=0), scoring="neg_log_loss",
    )  # fmt: skip
train, held_out = -train, -held_out

# %%
# The best width lies between the extremes.
best = widths[int(held_out.mean(axis=1).argmin())]
fig, ax = plt.subplots(layout="constrained")
for scores, style, name in ((train, "o--", "training rows"), (held_out, "s-", "held-out rows")):
    stderr = scores.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])
    ax.errorbar(widths, scores.mean(axis=1), stderr, fmt=style, color="k", capsize=3, label=name)
ax.axvline(best, color="0.6", ls=":")
ax.set(xscale="log", yscale="log", xlabel="units in each of two hidden layers")
ax.set(ylabel="log loss (nats a row)", title=f"Held out, {best} units do best")
ax.legend()
plt.show()

assert train.mean(axis=1)[-1] < train.mean(axis=1)[0]
assert held_out.mean(axis=1)[-1] > held_out.mean(axis=1).min()
