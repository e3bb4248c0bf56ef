"""How much of a model's skill is left when its inputs, or the labels it learns, are noisy?

`resilience` takes any fitted scikit-learn classifier or regressor.
"""

from sklearn_dl.resilience.measure import resilience
from sklearn_dl.resilience.result import Resilience

__all__ = ["Resilience", "resilience"]
