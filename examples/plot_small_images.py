"""
Small images, with a convolution
================================

An image is more than its pixels in a row: neighbours belong together. ``module="cnn"`` reads the
images themselves, and the same folds compare it with the network that sees 64 columns.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from sklearn_dl import DLClassifier, batched_fits

digits = load_digits()
images, columns, y = digits.images, digits.data, digits.target
print(images.shape, columns.shape)

# %%
# Two blocks of a convolution and a pooling, then one hidden layer: the same layer that the other
# network has on top of the columns.
training = {"hidden_layer_sizes": (64,), "max_epochs": 12, "learning_rate": 3e-3, "random_state": 0}
models = {
    "64 columns": (DLClassifier(module="mlp", **training), columns),
    "8 x 8 pixels": (DLClassifier(module="cnn", channels=(8, 16), **training), images),
}
folds = StratifiedKFold(3, shuffle=True, random_state=0)
with batched_fits():
    wrong = {
        name: cross_val_predict(model, X, y, cv=folds) != y for name, (model, X) in models.items()
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
            ax.imshow(images[i], cmap="gray_r")
            ax.text(0, 0.5, y[i], color="0.4", fontsize=9)
shares = {name: f"{1 - w.mean():.3f}" for name, w in wrong.items()}
fig.suptitle(f"Accuracy {shares[names[1]]} from pixels, {shares[names[0]]} from columns")
plt.show()

assert wrong[names[1]].mean() < wrong[names[0]].mean() < 0.1
