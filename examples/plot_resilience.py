"""
How much noise does a model bear?
=================================

A network with the same score as a simple model may depend on details that noise destroys. Noise
raises everybody's error, so the question is: more than that of others, on the same noisy rows?
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from sklearn_dl import DLClassifier
from sklearn_dl.plotting import ResilienceDisplay
from sklearn_dl.resilience import resilience

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = DLClassifier(random_state=0).fit(X_train, y_train)
found = resilience(model, X_test, y_test, X_train=X_train, y_train=y_train, random_state=0)
print(found)

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, corruption in zip(axes, found.corruptions, strict=True):
    ResilienceDisplay(found, corruption).plot(ax)
plt.show()

clean = found.curves[found.curves["level"] == 0]
assert (clean["retention"] == 1).all()
most = found.curves.groupby(["model", "corruption"])["retention"].last()
assert (most < 1).all()
