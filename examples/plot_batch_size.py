"""
Small or large batches?
=======================

Small batches make noisy steps and many of them. Courses say that they reach flatter points and
generalise better. Here is the measurement: the same network over batch sizes, each at its own best
learning rate, from three seeds. What the table of claims answers may come out otherwise on other
rows.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer

from sklearn_dl import PLAIN, DLClassifier
from sklearn_dl.plotting import BatchSizeDisplay
from sklearn_dl.studies import batch_size_study

X, y = load_breast_cancer(return_X_y=True)
network = DLClassifier(
    **PLAIN
    | {"hidden_layer_sizes": (16,), "activation": "tanh", "optimizer": "sgd", "learning_rate": 0.1}
)
study = batch_size_study(
    network,
    X,
    y,
    batch_sizes=[8, 64, 426],
    rates=[0.03, 0.1, 0.3, 1, 3],
    n_epochs=8,
    n_seeds=3,
    random_state=0,
)
print(study)

# %%
# At equal epochs the smallest batches make fifty times as many updates as the whole table does.
columns = ["budget", "batch_size", "momentum", "learning_rate", "rate_width", "updates", "cosine"]
print(study.table[columns].round(2).to_string(index=False))

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
BatchSizeDisplay(study, "train_loss").plot(axes[0])
BatchSizeDisplay(study, "test_loss").plot(axes[1])
axes[0].set_yscale("log")
asked = study.claims[study.claims["claim"] == "small batches generalise better"]
fig.suptitle(f"Do small batches generalise better here? {', '.join(asked['holds'].unique())}")
plt.show()

# what mathematics forces: a batch of all rows has no gradient noise, a small one has
noisier = study.claims[study.claims["claim"] == "small batches are noisier"]
assert (noisier["difference"] > 0).all()
# and momentum makes successive updates alike
cosine = study.table.groupby("momentum")["cosine"].mean()
assert cosine[0.9] > cosine[0.0]
