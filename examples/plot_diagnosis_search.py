"""
A search that listens to the diagnosis
======================================

What should be tried after a candidate that did badly? Its training and held-out scores say whether
it was too simple, badly trained or too well adapted to its rows, and `DiagnosisSearchCV` proposes
what each of these asks for. Here it begins with a network whose learning rate is far too low.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from sklearn_dl import DLClassifier
from sklearn_dl.search import DiagnosisSearchCV, param_space

X, y = load_breast_cancer(return_X_y=True)
net = DLClassifier(
    module="mlp", hidden_layer_sizes=(8,), learning_rate=1e-4, max_epochs=10, random_state=0
)

# %%
# Small networks, so that the page takes seconds: 12 settings on 3 folds, of which one is a forest
# that says how well others do.
space = param_space(net) | {
    "hidden_layer_sizes": [(8,), (32,), (32, 32), (64,)],
    "max_epochs": [5, 10, 20],
}
search = DiagnosisSearchCV(
    net, space, n_candidates=12, cv=3, scoring="neg_log_loss", random_state=0
).fit(X, y)
print(search.rounds_.round(3).to_string())
changed = {k: v for k, v in search.best_params_.items() if v != net.get_params()[k]}
print("changed:", changed)

# %%
# Each dot is a candidate, by its loss on its own rows and on others; the colour is the cause it was
# proposed for. The line is where both are equal: the distance to it is what was not learnt but
# learnt by heart.
results = search.cv_results_
learnt, held_out = -results["mean_train_score"], -results["mean_test_score"]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for cause in dict.fromkeys(results["cause"]):
    of = results["cause"] == cause
    left.plot(learnt[of], held_out[of], "o", label=cause.replace("_", " "))
left.axline((0.1, 0.1), slope=1, color="grey", linewidth=0.8)
left.set(xscale="log", yscale="log", xlabel="training log loss", ylabel="held-out log loss")
left.legend(fontsize="small")
best = np.minimum.accumulate(held_out)
right.plot(np.arange(len(best)) + 1, best, "k.-", label="best network so far")
forest = -search.references_["extra trees"].mean()
right.axhline(forest, color="C2", linestyle="--", label="extra trees")
right.set(yscale="log", xlabel="settings tried", ylabel="held-out log loss")
right.legend(fontsize="small")
fig.suptitle(
    f"{len(best)} settings took the held-out loss from {held_out[0]:.2f} to {best[-1]:.2f}"
)
plt.show()

assert best[-1] < held_out[0] / 2
assert best[-1] < forest
