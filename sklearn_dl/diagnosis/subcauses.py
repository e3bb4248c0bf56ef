"""What stands behind a large training loss, from the codes of the evidence."""

from __future__ import annotations

from sklearn_dl.diagnosis.rules import Verdict

__all__ = ["cause"]

#: Why training failed: (any of these found, in words), the first that holds.
_OPTIMIZATION_CAUSES: tuple[tuple[set[str], str], ...] = (
    ({"DL201"}, "the learning rate is too high: fits diverged"),
    ({"DL207"}, "most hidden units are dead"),
    ({"DL208"}, "most hidden units are saturated"),
    ({"DL206", "DL209"}, "a degenerate plateau: hardly any gradient reaches the first layers"),
    ({"DL210", "DL212"}, "the learning rate is too high"),
    ({"DL215"}, "the gradient is clipped far below its norm"),
    ({"DL216"}, "the learning rate decays too soon"),
    ({"DL213"}, "the learning rate is too low"),
    ({"DL202", "DL211"}, "training stopped too early"),
    ({"DL204", "DL205"}, "the learning rate is too high"),
    ({"DL221"}, "training stopped at a saddle point"),
    ({"DL214"}, "its settings do not fit even a few rows"),
)
#: Why the model is too simple; ``linear`` and ``narrow`` are of the configuration.
_BIAS_CAUSES: tuple[tuple[set[str], str], ...] = (
    ({"DL303"}, "it is over-regularised"),
    ({"DL301", "linear"}, "it is too shallow: a linear model"),
    ({"DL301"}, "it is too narrow"),
    (set(), "a wider network does no better: features are missing, or another kind of model"),
)


def cause(
    verdict: Verdict, codes: set[str], *, linear: bool = False, mse_on_classes: bool = False
) -> str | None:
    """What stands behind a large training loss, from the codes of the evidence found.

    Parameters
    ----------
    verdict : Verdict
        None but optimization and model bias have one here.
    codes : set of str
        Evidence that was found.
    linear : bool
        Whether the network has no hidden layer that bends.
    mse_on_classes : bool
        Whether it minimises squared error on class probabilities.
    """
    if verdict is Verdict.OPTIMIZATION:
        for signs, words in _OPTIMIZATION_CAUSES:
            if signs & codes:
                return words
        return "the loss chosen: squared error on probabilities" if mse_on_classes else None
    if verdict is Verdict.MODEL_BIAS:
        known = codes | ({"linear"} if linear else set())
        return next(words for signs, words in _BIAS_CAUSES if signs <= known)
    return None
