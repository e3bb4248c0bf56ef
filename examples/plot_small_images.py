"""
Small images, with a convolution
================================

An image is more than its pixels in a row: neighbours belong together. A convolution of a few lines
goes in as ``module``, and the same folds compare it with the network that sees 64 columns.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import nn

from sklearn_dl import DLClassifier, batched_fits

X, y = load_digits(return_X_y=True)


def convolution(n_features: int, n_outputs: int) -> nn.Module:
    """Two convolutions over 8 x 8 pixels, then a linear read-out."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, n_outputs),
    )


# %%
# Pixels go in as they come, divided by their largest value.
training = {"preprocessing": None, "max_epochs": 15, "weight_decay": 1e-3, "random_state": 0}
models = {
    "64 columns": DLClassifier(module="mlp", **training),
    "8 x 8 pixels": DLClassifier(module=convolution, learning_rate=3e-3, **training),
}
folds = StratifiedKFold(3, shuffle=True, random_state=0)
with batched_fits():
    wrong = {
        name: cross_val_predict(model, X / 16, y, cv=folds) != y for name, model in models.items()
    }

# %%
# The images that only one of the two reads right.
fig, axes = plt.subplots(2, 8, figsize=(8, 2.6), layout="constrained")
names = list(wrong)
for row, (name, other) in zip(axes, (names, names[::-1]), strict=True):
    only = np.flatnonzero(wrong[name] & ~wrong[other])
    row[0].set_title(f"only {name} fails: {len(only)} images", loc="left", fontsize=9)
    for ax, i in zip(row, [*only[:8], *[None] * 8], strict=False):
        ax.axis("off")
        if i is not None:
            ax.imshow(X[i].reshape(8, 8), cmap="gray_r")
            ax.text(0, 0.5, y[i], color="0.4", fontsize=9)
shares = {name: f"{1 - w.mean():.3f}" for name, w in wrong.items()}
fig.suptitle(f"Accuracy {shares[names[1]]} from pixels, {shares[names[0]]} from columns")
plt.show()

assert wrong[names[1]].mean() < wrong[names[0]].mean() < 0.1
