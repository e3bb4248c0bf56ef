"""
Overfitting: noise learnt by heart
==================================

One label in five is wrong, and a wide network trained for long learns them all. A large distance
between training and held-out loss is no harm by itself, so brakes are tried one at a time; those
that lower the held-out loss are the remedies, with what they gained.
"""

import matplotlib.pyplot as plt

from sklearn_dl import PLAIN, DLClassifier, diagnose
from sklearn_dl.datasets import make_noisy_classes
from sklearn_dl.diagnosis import bias_variance, more_rows

noisy = make_noisy_classes(500, 6, flip=0.2, random_state=0)
settings = {"hidden_layer_sizes": (64,), "optimizer": "adam", "learning_rate": 0.01}
wide = DLClassifier(**PLAIN | settings | {"max_epochs": 60, "batch_size": 64}, random_state=0)
before = diagnose(wide, noisy.X, noisy.y, cv=3, random_state=0)
print(before)

# %%
# Try what is a parameter, and keep the best.
tried = {k: before.try_remedy(k) for k, r in enumerate(before.remedies[:4]) if r.params or r.does}
best = max(tried, key=lambda k: tried[k][1].gain)
cured, gain = tried[best]
for k, (_, one) in tried.items():
    print(f"{before.remedies[k].action}: {one.gain:.3f} +- {one.stderr:.3f}")

# %%
# What would twice the rows bring, and how much of the loss is variance?
curve = more_rows(before)
print(curve.predictions, curve.probability, curve.reason)
parts = bias_variance(wide, noisy.X, noisy.y, n_samples=5, n_seeds=2, random_state=0)
print(parts)

# %%
# Loss by number of rows, and the parts of the loss.
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.errorbar(curve.curve["rows"], curve.curve["out_of_fold"], curve.curve["stderr"], fmt="ko-")
left.axhline(noisy.floor, color="0.5", ls="--", label="noise floor")
left.set(xlabel="rows learnt", ylabel="out-of-fold log loss (nats)", xscale="log")
left.set_xticks(curve.curve["rows"], [f"{n:.0f}" for n in curve.curve["rows"]])
left.minorticks_off()
left.set_title("More rows brake it")
left.legend()
names = ["bias_and_noise", "variance_of_rows", "variance_of_seeds"]
labels = [name.replace("_", "\n", 1).replace("_", " ") for name in names]
right.bar(labels, parts.loc[names, "value"], yerr=parts.loc[names, "stderr"], color="0.6")
variance = parts.loc["variance", "value"]
right.set(ylabel="part of the log loss (nats)", title=f"Variance costs {variance:.2f}")
plt.show()

assert before.verdict == "overfitting"
assert gain.gain > 2 * gain.stderr > 0
assert parts.loc["variance", "value"] > 0
