"""
A first cross-validation
========================

Five folds of a small network on the breast-cancer table: how well does it do on rows it never saw,
and did it train long enough? Run it with ``python examples/plot_first_cross_validation.py``.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_validate

from sklearn_dl import DLClassifier, batched_fits

X, y = load_breast_cancer(return_X_y=True, as_frame=True)

# %%
# Inside the context scikit-learn's own function trains its five fits together.
with batched_fits():
    cv = cross_validate(
        DLClassifier(random_state=0), X, y, cv=5, return_train_score=True, return_estimator=True
    )
for part in ("train", "test"):
    scores = cv[f"{part}_score"]
    print(
        f"{part:5s} accuracy {scores.mean():.3f} +- {scores.std(ddof=1) / len(scores) ** 0.5:.3f}"
    )

# %%
# One line a fold. Curves that still fall at the right edge ask for more epochs.
fig, ax = plt.subplots(layout="constrained")
styles = ("-", "--", ":", "-.", (0, (5, 1)))
for fold, (model, style) in enumerate(zip(cv["estimator"], styles, strict=True), start=1):
    history = model.history_
    ax.plot(history["epoch"], history["train_loss"], ls=style, color="k", label=f"fold {fold}")
ax.set(xlabel="epoch", ylabel="training loss (nats a row)", yscale="log")
ax.set_title(f"Five folds: accuracy {cv['test_score'].mean():.3f} on rows not learnt")
ax.legend()
plt.show()

assert cv["test_score"].mean() > 0.95
