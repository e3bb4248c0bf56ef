"""
A network in the pipeline you already have
==========================================

An existing scikit-learn pipeline keeps its steps and its code; only the last step changes. Here a
logistic regression gives its place to a network, and the same ten folds compare the two by pairs.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

from sklearn_dl import DLClassifier, batched_fits

X, y = load_wine(return_X_y=True, as_frame=True)

# %%
# What was there before: some columns are made symmetric, the rest are scaled.
skewed = ["malic_acid", "color_intensity", "proline"]
columns = make_column_transformer((PowerTransformer(), skewed), remainder=StandardScaler())
before = make_pipeline(columns, LogisticRegression())

# %%
# What changes is the last step.
after = make_pipeline(columns, DLClassifier(random_state=0))

folds = StratifiedKFold(10, shuffle=True, random_state=0)
with batched_fits():
    losses = {
        name: -cross_val_score(model, X, y, cv=folds, scoring="neg_log_loss")
        for name, model in {"logistic regression": before, "network": after}.items()
    }

# %%
# One line a fold: the same rows, before and after.
difference = losses["network"] - losses["logistic regression"]
stderr = difference.std(ddof=1) * np.sqrt(1 / 10 + 1 / 9)  # Nadeau and Bengio (2003)
fig, ax = plt.subplots(layout="constrained")
ax.plot(list(losses), np.transpose(list(losses.values())).T, "o-", color="0.6")
ax.plot(list(losses), [loss.mean() for loss in losses.values()], "ks-", lw=3, label="mean")
ax.set(ylabel="held-out log loss (nats a row)")
ax.set_title(f"The network's loss differs by {difference.mean():+.3f} ± {stderr:.3f}")
ax.legend()
plt.show()

assert max(loss.mean() for loss in losses.values()) < 0.2  # chance is log 3 = 1.1
