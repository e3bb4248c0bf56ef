"""
Would more rows help?
=====================

The gap between training and held-out loss shrinks as rows are added. scikit-learn's own
``LearningCurveDisplay`` draws it; `batched_fits` trains its 25 networks in a few stacks.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import LearningCurveDisplay, StratifiedKFold

from sklearn_dl import PLAIN, DLClassifier, batched_fits

X, y = load_digits(return_X_y=True)

# %%
# Early stopping gives every size the number of steps that suits it: with a fixed number of epochs
# more rows would also mean more steps, and the two effects could not be told apart.
stopped = {"hidden_layer_sizes": (64,), "early_stopping": True, "max_epochs": 80, "batch_size": 32}
model = DLClassifier(**PLAIN | stopped, learning_rate=3e-3, random_state=0)
fig, ax = plt.subplots(layout="constrained")
with batched_fits():
    display = LearningCurveDisplay.from_estimator(
        model, X, y, train_sizes=np.geomspace(0.06, 1, 5), scoring="neg_log_loss",
        negate_score=True, score_name="log loss (nats a row)", ax=ax,
        cv=StratifiedKFold(5, shuffle=True, random_state=0), line_kw={"color": "k"},
        fill_between_kw={"color": "k", "alpha": 0.15},
    )  # fmt: skip

# %%
# The slope on logarithmic axes says what a doubling brings.
held_out = -display.test_scores.mean(axis=1)
slope = np.polyfit(np.log2(display.train_sizes), np.log2(held_out), 1)[0]
ax.set(xscale="log", yscale="log", xlabel="training rows")
ax.set_title(f"Twice the rows leave {2**slope:.0%} of the held-out loss")
for line, style, marker in zip(display.lines_, ("--", "-"), "os", strict=True):
    line.set(linestyle=style, marker=marker)
ax.legend(display.lines_, ["training rows", "held-out rows"])
plt.show()

assert held_out[-1] < held_out[0]
