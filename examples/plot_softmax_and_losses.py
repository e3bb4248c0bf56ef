"""
Softmax, squared error and cross-entropy
========================================

Why are classes not learnt by squared error? Far from the right answer its gradient vanishes: it
carries the slope of the softmax as a factor, and a softmax that is sure, if wrong, is flat. The
gradient of cross-entropy is the error itself.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_iris

from sklearn_dl import PLAIN, DLClassifier
from sklearn_dl.studies import gradient_by_saturation, saturation_study

table = gradient_by_saturation(n_classes=3)
print(table[table["logit"].isin([-10, -5, 0, 5, 10])].round(4).to_string(index=False))

# %%
# The same network from the same weights, drawn as usual and twenty times as large: then it is sure
# of everything before it has learnt anything.
X, y = load_iris(return_X_y=True)
network = DLClassifier(
    **PLAIN | {"hidden_layer_sizes": (16,), "activation": "tanh", "optimizer": "sgd"},
    learning_rate=0.05,
    max_epochs=30,
)
study = saturation_study(network, X, y, scales=(1, 20), n_seeds=4, random_state=0)
print(study.table.round(3).to_string(index=False))

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for loss, style in (("cross_entropy", "-"), ("mse", "--")):
    name = loss.replace("_", "-").replace("mse", "squared error")
    axes[0].plot(table["logit"], table[f"{loss}_gradient"], style, color="black", label=name)
    large = study.curves.query("loss == @loss and scale == 20")
    mean = large.groupby("epoch")["accuracy"].mean()
    axes[1].plot(mean.index, mean, style, color="black", label=name)
axes[0].set(xlabel="logit of the right class", ylabel="size of the gradient (by the logits)")
axes[0].set_title("Surely wrong, squared error does not learn")
axes[1].set(xlabel="epoch", ylabel="training accuracy, mean of four seeds")
last = study.curves.query("scale == 20 and epoch == epoch.max()").groupby("loss")["accuracy"].mean()
axes[1].set_title(f"From saturated weights: {last['cross_entropy']:.2f} against {last['mse']:.2f}")
for ax in axes:
    ax.legend()
plt.show()

wrong = table.iloc[0]
assert wrong["cross_entropy_gradient"] > 1 > 1000 * wrong["mse_gradient"]
