"""
RMSProp and Adam
================

RMSProp divides each weight's gradient by its own recent size; Adam adds momentum and corrects both
averages for their start at zero. So Adam without momentum (beta1 = 0) and without the correction
*is* RMSProp. And what the division is good for shows on columns of very different scale.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from sklearn_dl import PLAIN, DLClassifier, DLRegressor
from sklearn_dl.studies import learning_rate_range

X, y = load_iris(return_X_y=True)
warnings.filterwarnings("ignore", category=ConvergenceWarning)  # some are stopped on purpose


class UncorrectedAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) without its lines on bias correction."""

    def __init__(self, params, lr, weight_decay=0.0, beta1=0.0, beta2=0.9, eps=1e-8):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    @torch.no_grad()
    def step(self, closure=None):
        """Move the weights."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                m = state.setdefault("m", torch.zeros_like(p))
                v = state.setdefault("v", torch.zeros_like(p))
                m.mul_(self.beta1).add_(p.grad, alpha=1 - self.beta1)
                v.mul_(self.beta2).addcmul_(p.grad, p.grad, value=1 - self.beta2)
                p.sub_(group["lr"] * m / (v.sqrt() + self.eps))


# %%
# The same weights, to rounding.
plain = PLAIN | {"hidden_layer_sizes": (8,), "activation": "tanh", "dtype": "float64"}
options = {**plain, "learning_rate": 0.01, "max_epochs": 30, "random_state": 0}
rmsprop = DLClassifier(**options, optimizer="rmsprop").fit(X, y)
adam = DLClassifier(**options, optimizer=UncorrectedAdam).fit(X, y)
distance = max(
    float((a - b).detach().abs().max())
    for a, b in zip(rmsprop.module_.parameters(), adam.module_.parameters(), strict=True)
)
print(f"largest difference of a weight after 30 epochs: {distance:.1e}")

# %%
# A line through two columns that matter equally, one in units a hundred times as large as the
# other's, taken as they come. Each optimizer has the constant rate that is best for it: one rate
# for both weights is too small for one of them.
rng = np.random.default_rng(0)
inputs = rng.standard_normal((200, 2)) * [10, 0.1]
target = inputs @ [0.1, 10.0] + 0.1 * rng.standard_normal(200)
line = DLRegressor(**options | {"preprocessing": None, "hidden_layer_sizes": (), "max_epochs": 40})
curves = {}
for optimizer, rate in (("sgd", 1e-3), ("rmsprop", 0.1), ("adam", 0.1)):
    model = line.set_params(optimizer=optimizer, learning_rate=rate)
    found = learning_rate_range(
        model, inputs, target, n_seeds=2, n_epochs=40, curvature=False, random_state=0
    )
    model.set_params(learning_rate=found.best).fit(inputs, target)
    curves[f"{optimizer}, rate {found.best:.2g}"] = model.history_["train_loss"]

fig, ax = plt.subplots(layout="constrained")
for (name, curve), style in zip(curves.items(), ("--", ":", "-"), strict=True):
    ax.plot(curve, style, color="black", label=name)
ax.set(xlabel="epoch", ylabel="training loss (squared error)", yscale="log")
ax.set_title("One rate for all weights serves the larger column only")
ax.legend()
plt.show()

assert distance < 1e-9
sgd, divided, adam_curve = curves.values()
assert max(divided.iloc[-1], adam_curve.iloc[-1]) < 0.1 * sgd.iloc[-1]
