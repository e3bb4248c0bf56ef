"""
Mismatch that nobody planted: digits of new writers
===================================================

The rows of scikit-learn's digits stand in the order of their writers. A network that learnt the
first rows and predicts the last ones meets people whose hand it never saw. Shuffled folds do not
show it: they hold out other digits of the *same* writers.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_dl import PLAIN, DLClassifier, batched_fits, diagnose

X, y = load_digits(return_X_y=True)
rows = np.isin(y, [1, 3, 5, 8, 9])  # half of the digits, to be quick
X, y = X[rows], y[rows]
rng = np.random.default_rng(0)
known, new = rng.permutation(540), 540 + rng.permutation(len(X) - 540)
train, test = known[:300], new[:200]
settings = {"hidden_layer_sizes": (64,), "optimizer": "adam", "learning_rate": 3e-3}
net = DLClassifier(
    **PLAIN | settings | {"max_epochs": 20, "batch_size": 32, "schedule": "cosine"}, random_state=0
)

# %%
# The folds of the training rows promise more than the new writers give.
d = diagnose(
    net, X[train], y[train], X_test=X[test], y_test=y[test], cv=3, budget="quick", random_state=0
)
print(d)

# %%
# What mends it? As many rows again, of the writers known or of the new ones, five draws each; the
# test rows stay the same.
errors = {"writers known": [], "new writers": []}
with batched_fits():
    for kind, pool in zip(errors, (known[300:], new[200:]), strict=True):
        for _ in range(5):
            rows = [*train, *rng.choice(pool, 150, replace=False)]
            errors[kind].append(1 - net.fit(X[rows], y[rows]).score(X[test], y[test]))
before = 1 - net.fit(X[train], y[train]).score(X[test], y[test])

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
d.plot(ax=left)
for place, values in enumerate(errors.values()):
    right.plot(place + np.linspace(-0.1, 0.1, 5), values, "ko", mfc="0.8")
right.axhline(before, color="k", ls="--", label="300 rows of writers known")
right.set(xlim=(-0.6, 1.6), ylim=0, ylabel="share of errors on new writers")
right.set_xticks([0, 1], [f"150 more of\n{kind}" for kind in errors])
means = {kind: np.mean(values) for kind, values in errors.items()}
right.set_title(f"Their rows cut {before:.0%} of errors to {means['new writers']:.0%}")
right.legend()
plt.show()

assert d.verdict == "mismatch"
assert means["new writers"] < means["writers known"]
