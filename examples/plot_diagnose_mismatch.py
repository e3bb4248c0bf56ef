"""
Mismatch: the test rows are not like the training rows
======================================================

In training half of the rows belong to each class, in the test table nine of ten to one. The
network is fine on rows like those it learnt and costs more on the others; the share of that which
the class frequencies explain names the shift, and weighing the classes mends it.
"""

import matplotlib.pyplot as plt

from sklearn_dl import PLAIN, DLClassifier, diagnose
from sklearn_dl.datasets import make_shifted

moved = make_shifted("label", 800, 4, n_test=800, random_state=1)
settings = {"hidden_layer_sizes": (8,), "optimizer": "adamw", "learning_rate": 0.01}
net = DLClassifier(
    **PLAIN | settings | {"max_epochs": 15, "batch_size": 64, "schedule": "cosine"}, random_state=0
)
before = diagnose(
    net, moved.X, moved.y, X_test=moved.X_test, y_test=moved.y_test, cv=3, random_state=0
)
print(before)

# %%
# The remedy is no parameter: it weighs the training rows by the classes of the test rows.
print(before.remedies[0].action, "|", before.remedies[0].why)
cured, gain = before.try_remedy(0)
print(f"gain on the test rows {gain.gain:.3f} +- {gain.stderr:.3f} nats")

# %%
# The ledger, and what explains its last line. A negative share: rows weighted towards the test
# rows' inputs, with the classes' frequencies as learnt, would be predicted better, not worse.
shares = before.evidence.set_index("code").loc[["DL403", "DL404", "DL405"], "value"]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
before.plot(ax=left)
right.bar(["classes", "inputs", "relation"], shares, color="0.6")
right.axhline(0, color="k", lw=0.8)
right.set(xlabel="what changed", ylabel="share of C - B explained")
right.set_title(f"The class frequencies explain {shares['DL403']:.0%}")
plt.show()

assert before.verdict == "mismatch"
assert shares["DL403"] > 0.5
assert gain.gain > 2 * gain.stderr > 0
