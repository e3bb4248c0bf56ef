"""
Optimization: good weights exist and were not found
===================================================

The network is large enough, its learning rate is a hundred times too small. A larger network
trained in the same way would not help; the same network trained strongly does, and going on with
three times the rate says why.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer

from sklearn_dl import PLAIN, DLClassifier, diagnose

X, y = load_breast_cancer(return_X_y=True)
settings = {"hidden_layer_sizes": (16,), "optimizer": "adam", "batch_size": 64, "max_epochs": 20}
slow = DLClassifier(**PLAIN | settings, learning_rate=5e-5, random_state=0)
before = diagnose(slow, X, y, cv=3, random_state=0)
print(before)
print("cause:", before.cause)

# %%
# Remedies are dicts for ``set_params``, and all of them together a grid for ``GridSearchCV``.
for remedy in before.remedies:
    print(remedy.params, remedy.gain)
print(before.param_grid)
cured, gain = before.try_remedy(0)
after = diagnose(cured, X, y, cv=3, random_state=0)
print(after.verdict.value, f"gain {gain.gain:.3f} +- {gain.stderr:.3f}")

# %%
# Where the loss went.
fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharex=True, layout="constrained")
for ax, d in zip(axes, (before, after), strict=True):
    d.plot(ax=ax)
costs = [d.ledger.loc["optimization", "loss"] for d in (before, after)]
axes[0].set_title(f"A rate too small costs {costs[0]:.2f}")
axes[1].set_title(f"After the remedy: {costs[1]:.2f}")
plt.show()

assert before.verdict == "optimization"
assert gain.gain > 2 * gain.stderr > 0
assert after.verdict != "optimization"
