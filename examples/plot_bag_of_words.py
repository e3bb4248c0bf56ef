"""
Words as a bag of embeddings
============================

``module`` takes any callable ``(n_features, n_outputs) -> torch.nn.Module``, so a network may read
what it likes. Here each row is a short text as numbers of words, padded with zeros, and
`torch.nn.EmbeddingBag` gives each word a vector and each text their mean.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_score
from torch import Tensor, nn

from sklearn_dl import DLClassifier, batched_fits

# %%
# Texts of up to 20 words out of 200. Thirty words are kind, thirty unkind, the others say nothing;
# which is which is for the network to find out. Word 0 is the padding.
N_WORDS, LENGTH = 200, 20
rng = np.random.default_rng(0)
meaning = np.concatenate([[0], rng.permutation(np.repeat([1, -1, 0], [30, 30, 140]))])
lengths = rng.integers(5, LENGTH + 1, size=900)
texts = np.zeros((900, LENGTH), dtype=np.int64)
for text, length in zip(texts, lengths, strict=True):
    text[:length] = rng.integers(1, N_WORDS + 1, size=length)
kind = meaning[texts].sum(axis=1) + 0.3 * rng.standard_normal(900) > 0


class Bag(nn.Module):
    """The mean of the vectors of the words, then a linear read-out."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(N_WORDS + 1, 4, mode="mean", padding_idx=0)
        self.read_out = nn.Linear(4, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Words come as floats, as all inputs do."""
        return self.read_out(self.words(x.long()))


# %%
# ``preprocessing=None``: the numbers of the words are names, not amounts. A network
# that takes them for amounts learns little.
settings = {"learning_rate": 0.02, "max_epochs": 30, "random_state": 0}
bag = DLClassifier(module=Bag, preprocessing=None, weight_decay=0.01, **settings)
plain = DLClassifier(hidden_layer_sizes=(32,), n_members=1, **settings)
models = {"bag of words": bag, "numbers as amounts": plain}
with batched_fits():
    scores = {name: cross_val_score(m, texts, kind, cv=3).mean() for name, m in models.items()}
print({name: f"{score:.3f}" for name, score in scores.items()})

# %%
# The vectors hold what each word means: what a text of this word alone would be told.
fitted = bag.fit(texts, kind)
alone = np.zeros((N_WORDS, LENGTH))
alone[:, 0] = np.arange(1, N_WORDS + 1)
said = fitted.decision_function(alone)
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for value, name in ((1, "kind"), (-1, "unkind"), (0, "neither")):
    ax.hist(said[meaning[1:] == value], bins=np.linspace(said.min(), said.max(), 40), alpha=0.7,
            label=f"{name} words")  # fmt: skip
ax.set(xlabel="output for a text of one word", ylabel="words")
ax.set_title(f"The bag tells {scores['bag of words']:.0%} of texts and which words are kind")
ax.legend()
plt.show()

assert scores["bag of words"] > scores["numbers as amounts"] + 0.2
assert said[meaning[1:] == 1].min() > said[meaning[1:] == -1].max()
