"""
Decay and warm-up
=================

A large rate gets near the minimum fast and then rattles about it; a rate that decays settles. And
at the start, where curvature is largest, the full rate may throw the weights far off: warm-up
raises it step by step.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from sklearn_dl import PLAIN, DLClassifier
from sklearn_dl.plotting import ScheduleDisplay
from sklearn_dl.studies import warmup_study

X, y = load_breast_cancer(return_X_y=True)
plain = PLAIN | {"hidden_layer_sizes": (32,), "activation": "tanh", "optimizer": "sgd"}
settings = {
    "constant": {},
    "cosine": {"schedule": "cosine"},
    "warm-up, cosine": {"schedule": "cosine", "warmup": 0.1},
}
curves = {
    name: [
        DLClassifier(
            **plain
            | {"learning_rate": 0.3, "batch_size": 16, "max_epochs": 15, "momentum": 0.9}
            | extra,
            random_state=seed,
        )
        .fit(X, y)
        .history_["train_loss"]
        for seed in range(3)
    ]
    for name, extra in settings.items()
}

# %%
# Where does training explode without warm-up?
deep = DLClassifier(
    **plain | {"hidden_layer_sizes": (64,) * 4, "activation": "relu", "max_epochs": 10},
    learning_rate=0.03,
    batch_size=32,
)
table = warmup_study(deep, X, y, warmup=0.3, rates=[0.03, 0.1, 0.3], n_seeds=4, random_state=0)
print(table.round(3).to_string(index=False))

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for (name, runs), style in zip(curves.items(), (":", "--", "-"), strict=True):
    axes[0].plot(np.mean(runs, axis=0), style, color="black", label=name)
axes[0].set(xlabel="epoch", ylabel="training loss (nats), mean of three seeds", yscale="log")
last = {name: np.mean([run.iloc[-1] for run in runs]) for name, runs in curves.items()}
ratio = last["constant"] / last["cosine"]
axes[0].set_title(f"A rate that decays ends {ratio:.0f} times lower")
axes[0].legend()
network = DLClassifier(**plain | settings["warm-up, cosine"], learning_rate=0.3, max_epochs=15)
ScheduleDisplay.from_estimator(network, X, ax=axes[1])
plt.show()

assert last["cosine"] < last["constant"]
