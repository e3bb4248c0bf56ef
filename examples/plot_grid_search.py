"""
Optimizer, schedule, batch size and loss are hyperparameters
============================================================

``GridSearchCV`` reaches everything about the training. 24 settings on 5 folds are 120 networks; in
`batched_fits` those that share a network, an optimizer and a batch size train together.
"""

import warnings

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sklearn_dl import PLAIN, DLClassifier, batched_fits

X, y = load_breast_cancer(return_X_y=True)

# %%
# The textbook's network, so that the settings of the search are all there is.
model = DLClassifier(
    **PLAIN | {"hidden_layer_sizes": (32,), "max_epochs": 20, "learning_rate": 3e-3},
    random_state=0,
)
grid = {
    "optimizer": ["sgd", "rmsprop", "adam"],
    "schedule": [None, "cosine"],
    "batch_size": [32, 128],
    "loss": ["cross_entropy", "mse"],
}
warnings.simplefilter("ignore", ConvergenceWarning)  # 20 epochs are few for the slow ones
with batched_fits() as batches:
    search = GridSearchCV(model, grid, cv=5, scoring="neg_log_loss").fit(X, y)
print(f"{sum(batches.stacks)} fits in {len(batches.stacks)} trainings; best: {search.best_params_}")

# %%
# How far the choice of one hyperparameter moves the loss, the others averaged over.
results = pd.DataFrame(search.cv_results_["params"]).fillna({"schedule": "constant"})
results["log_loss"] = -search.cv_results_["mean_test_score"]
fig, axes = plt.subplots(1, 4, figsize=(10, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, grid, strict=True):
    means = results.groupby(name)["log_loss"].mean()
    ax.plot(means.index.astype(str).str.replace("_", "-\n"), means, "ko-")
    ax.set_xlabel(name.replace("_", " "))
    ax.margins(x=0.25)
axes[0].set_ylabel("held-out log loss (nats a row)")
spread = {
    name: results.groupby(name)["log_loss"].mean().agg(lambda m: m.max() - m.min()) for name in grid
}
fig.suptitle(f"Here the {max(spread, key=spread.get).replace('_', ' ')} matters most")
plt.show()

assert len(results) == 24
assert results["log_loss"].min() < 0.12  # always saying the share of the classes costs 0.66
