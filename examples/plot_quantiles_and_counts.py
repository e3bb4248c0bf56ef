"""
How sure is a forecast, and how often does something happen?
=============================================================

A mean says nothing of the spread around it. One network estimates several quantiles at once, which
never cross; and counts have a loss of their own, whose predictions are rates above zero.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import d2_tweedie_score

from sklearn_dl import DLRegressor

# %%
# Waiting times whose noise grows with the load, and calls an hour that come in two waves a day.
rng = np.random.default_rng(0)
load = rng.uniform(0, 1, size=(1500, 1))
wait = 3 + np.sin(6 * load[:, 0]) + (0.1 + load[:, 0]) * rng.standard_normal(1500)
hour = rng.uniform(0, 24, size=(1500, 1))
rate = np.exp(1.5 + np.cos(4 * np.pi * hour[:, 0] / 24))
calls = rng.poisson(rate)

# %%
# The first 1,000 rows are learnt from, 500 are judged. ``score`` of several quantiles is their mean
# D2; 90 of 100 rows should lie between the outer two.
levels = (0.05, 0.5, 0.95)
quantiles = DLRegressor(loss="pinball", quantile=levels, random_state=0)
quantiles.fit(load[:1000], wait[:1000])
low, _, high = quantiles.predict(load[1000:]).T
inside = np.mean((wait[1000:] >= low) & (wait[1000:] <= high))
print(f"D2 {quantiles.score(load[1000:], wait[1000:]):.2f}, {inside:.0%} of new rows inside")

# %%
# Counts: a network and a generalised linear model, both by the Poisson deviance.
counts = DLRegressor(loss="poisson", random_state=0).fit(hour[:1000], calls[:1000])
linear = PoissonRegressor().fit(hour[:1000], calls[:1000])
d2 = [
    d2_tweedie_score(calls[1000:], model.predict(hour[1000:]), power=1)
    for model in (counts, linear)
]
print(f"D2 of the Poisson deviance: network {d2[0]:.2f}, linear {d2[1]:.2f}")

# %%
# Both beside what was drawn.
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
line = np.linspace(0, 1, 200)[:, None]
left.plot(load[1000:, 0], wait[1000:], ".", color="0.7", ms=3)
left.plot(line, quantiles.predict(line), label=[f"{q:.0%} quantile" for q in levels])
left.set(xlabel="load", ylabel="waiting time (min)", title=f"{inside:.0%} of new rows lie inside")
left.legend()
line = np.linspace(0, 24, 200)[:, None]
right.plot(hour[1000:, 0], calls[1000:], ".", color="0.7", ms=3)
right.plot(line, counts.predict(line), label=f"network, D² {d2[0]:.2f}")
right.plot(line, linear.predict(line), "--", label=f"linear, D² {d2[1]:.2f}")
right.set(xlabel="hour", ylabel="calls an hour", title="Rates follow the day; a line cannot")
right.legend()
plt.show()

assert abs(inside - 0.9) < 0.06
assert d2[0] > d2[1] + 0.2
