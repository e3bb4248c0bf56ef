"""
Which learning rates work?
==========================

All rates at once, from several seeds: too small and nothing happens, too large and the loss
explodes. Gradient descent on a quadratic surface is stable up to two over the largest curvature;
where does the network stop to be?
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer

from sklearn_dl import PLAIN, DLClassifier
from sklearn_dl.plotting import LearningRateRangeDisplay

X, y = load_breast_cancer(return_X_y=True)
network = DLClassifier(
    **PLAIN | {"hidden_layer_sizes": (32, 32), "activation": "tanh", "optimizer": "sgd"},
    learning_rate=0.1,
    batch_size=64,
)
display = LearningRateRangeDisplay.from_estimator(network, X, y, random_state=0)
print(display.found)
plt.show()

found = display.found
assert found.best <= found.first_unstable
assert found.runs.groupby("learning_rate")["diverged"].mean().iloc[0] == 0
