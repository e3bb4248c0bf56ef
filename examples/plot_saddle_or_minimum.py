"""
Saddle point or minimum?
========================

Training stopped and the loss is not zero: is this a valley, or a pass from which the surface still
falls? The network y = w1 w2 x with one row (x, y) = (1, 1) is the smallest in which the question
arises: at w1 = w2 = 0 every gradient vanishes, and the Hessian has the eigenvalues -2 and 2.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import Linear, Sequential

from sklearn_dl.curvature import critical_point, escape, loss_slice
from sklearn_dl.plotting import LossLandscapeDisplay

net = Sequential(Linear(1, 1, bias=False), Linear(1, 1, bias=False))
for weight in net.parameters():
    torch.nn.init.zeros_(weight)
one = torch.ones(1, 1)


def squared_error(output, y):
    """One loss a row."""
    return (y - output) ** 2


# %%
# The gradient is zero, one eigenvalue is negative and one is positive: a saddle point. What counts
# is not the sign but how far the loss falls along that direction.
found = critical_point(net, squared_error, one, one, random_state=0)
print(found)

# %%
# One step along the direction of the negative eigenvalue reaches the bottom, where the same test
# finds a minimum.
beyond = critical_point(escape(net, found), squared_error, one, one, random_state=0)
print(beyond.kind, round(beyond.loss, 6))

# %%
# The loss along both eigenvectors, beside what the second derivatives predict. The prediction
# holds near the saddle; how far to step it does not say.
v_min = found.direction
v_max = np.array([-v_min[1], v_min[0]])
lines = loss_slice(net, squared_error, one, one, directions=v_min, span=1.6)
across = loss_slice(net, squared_error, one, one, directions=v_max, span=1.6)
display = LossLandscapeDisplay(lines, across, names=("falling", "rising")).plot()
display.ax_.set_title("The gradient is zero, and one direction still falls")
plt.show()

assert found.kind == "saddle_point"
assert found.worth_escaping
assert beyond.kind == "local_minimum"
assert beyond.loss < 1e-6
