"""
Augmentation: rows that were not collected
==========================================

A digit that is turned a little is still that digit. Changing the training images at random is the
second cure of overfitting, after more rows. Here its gain is measured over the number of rows, on
the same test rows with and without.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from torch.nn.functional import affine_grid, grid_sample

from sklearn_dl import PLAIN, DLClassifier, batched_fits

X, y = load_digits(return_X_y=True)


def turned(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn, zoom and move each image by up to 0.2 rad, 10 % and 0.4 pixels, and add noise."""
    n = len(rows)
    angle, zoom, *step = torch.rand(4, n, generator=generator, dtype=rows.dtype) * 2 - 1
    angle, zoom, step = 0.2 * angle, 1 + 0.1 * zoom, [0.1 * s for s in step]
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    maps = torch.stack([cos, -sin, step[0], sin, cos, step[1]], dim=1).reshape(n, 2, 3)
    grid = affine_grid(maps, [n, 1, 8, 8], align_corners=False)
    images = grid_sample(rows.reshape(n, 1, 8, 8), grid, align_corners=False)
    return images.reshape(n, 64) + 0.15 * torch.randn(n, 64, generator=generator, dtype=rows.dtype)


# %%
# Pixels go in as they are, so that what is turned is the image. The number of steps is the same
# with and without, and for every number of rows.
plain = {"preprocessing": None, "hidden_layer_sizes": (128,), "batch_size": 50}
model = DLClassifier(
    **PLAIN | plain | {"schedule": "cosine", "learning_rate": 3e-3}, random_state=0
)
sizes = [50, 100, 200]
errors = {"as collected": [], "changed at random": []}
with batched_fits():
    for n in sizes:
        split = StratifiedShuffleSplit(5, train_size=n, test_size=600, random_state=0)
        model.set_params(max_epochs=15_000 // n)
        for name, augmentation in zip(errors, (None, turned), strict=True):
            model.set_params(augmentation=augmentation)
            errors[name].append(1 - cross_val_score(model, X / 16, y, cv=split))

# %%
# The gain is measured by pairs: the same training and test rows.
gain = np.subtract(*errors.values())
stderr = gain.std(axis=1, ddof=1) * np.sqrt(
    1 / 5 + 600 / np.array(sizes)
)  # Nadeau and Bengio (2003)
fig, ax = plt.subplots(layout="constrained")
for (name, values), style in zip(errors.items(), ("o--", "s-"), strict=True):
    ax.plot(sizes, np.mean(values, axis=1), style, color="k", label=name)
ax.set(xscale="log", yscale="log", xlabel="training rows", ylabel="share of errors on new rows")
ax.set_title(f"With 50 rows the errors fall by {gain[0].mean():.3f} ± {stderr[0]:.3f}")
ax.legend()
plt.show()

assert gain.mean() > 0
