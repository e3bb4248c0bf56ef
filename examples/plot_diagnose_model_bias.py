"""
Model bias: a network too narrow for its task
=============================================

Two hidden units cannot draw a ring. The diagnosis sees that the training loss is above what
another model reaches on rows it never saw, that no optimizer helps the same network, and that a
wider one fits. Its first remedy is applied, and the question is asked again.
"""

import matplotlib.pyplot as plt

from sklearn_dl import PLAIN, DLClassifier, diagnose
from sklearn_dl.datasets import make_rings

rings = make_rings(600, 2, flip=0.05, random_state=0)
settings = {"optimizer": "adam", "learning_rate": 0.02, "schedule": "cosine", "batch_size": 64}
narrow = DLClassifier(
    **PLAIN | settings | {"hidden_layer_sizes": (2,), "max_epochs": 60}, random_state=0
)
before = diagnose(narrow, rings.X, rings.y, cv=3, random_state=0)
print(before)

# %%
# The measured remedy comes first. ``try_remedy`` refits on the same folds.
cured, gain = before.try_remedy(0)
print(f"{before.remedies[0].action}: gain {gain.gain:.3f} +- {gain.stderr:.3f} nats")
after = diagnose(cured, rings.X, rings.y, cv=3, random_state=0)
print(after.verdict.value)

# %%
# The ledger before and after, beside the entropy of the label noise, which no model can undercut.
fig, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharex=True, layout="constrained")
for ax, d in zip(axes, (before, after), strict=True):
    d.plot(ax=ax)
    ax.axvline(rings.floor, color="0.5", ls="--", label="noise of the labels")
axes[0].set_title(f"2 units: {before.verdict}, {before.ledger.loc['approximation', 'loss']:.2f}")
axes[1].set_title(
    f"After the remedy: {after.ledger.loc['approximation', 'loss']:.2f} of it is left"
)
axes[1].legend(loc="lower right")
plt.show()

assert before.verdict == "model_bias"
assert gain.gain > 2 * gain.stderr > 0
assert after.verdict != "model_bias"
