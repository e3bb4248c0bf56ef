"""
One holdout, five folds or five folds repeated: how much is luck?
=================================================================

The same network, the same table, and 30 ways to split it. A single holdout of a fifth validates
few rows, and its score depends on which; five folds validate each row once; five folds repeated
three times average over splits. A test set is left untouched until the end.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
    train_test_split,
)

from sklearn_dl import PLAIN, DLClassifier, batched_fits

X, y = load_breast_cancer(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
small = {"hidden_layer_sizes": (8,), "max_epochs": 10, "schedule": "cosine", "batch_size": 128}
model = DLClassifier(**PLAIN | small, learning_rate=3e-2, random_state=0)

# %%
# 30 splits of each kind: 630 fits, trained in stacks.
kinds = {
    "one holdout": lambda seed: StratifiedShuffleSplit(1, test_size=0.2, random_state=seed),
    "5 folds": lambda seed: StratifiedKFold(5, shuffle=True, random_state=seed),
    "5 folds x 3": lambda seed: RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=seed),
}
with batched_fits():
    means = {
        kind: [cross_val_score(model, X, y, cv=split(seed)).mean() for seed in range(30)]
        for kind, split in kinds.items()
    }

# %%
# Only now the test rows, once.
at_the_end = model.fit(X, y).score(X_test, y_test)
spread = {kind: np.std(scores, ddof=1) for kind, scores in means.items()}
fig, ax = plt.subplots(layout="constrained")
rng = np.random.default_rng(0)
for place, scores in enumerate(means.values()):
    ax.plot(place + rng.uniform(-0.2, 0.2, 30), scores, "ko", ms=4, alpha=0.4)
ax.axhline(at_the_end, color="0.5", ls="--", label="test rows, used once")
ax.set_xticks(range(3), [f"{kind}\nsd {sd:.3f}" for kind, sd in spread.items()])
ax.set(ylabel="estimated accuracy, one dot a split")
ratio = spread["one holdout"] / spread["5 folds"]
ax.set_title(f"The luck of the split is {ratio:.0f} times larger with one holdout")
ax.legend()
plt.show()

assert spread["one holdout"] > spread["5 folds"] > spread["5 folds x 3"]
