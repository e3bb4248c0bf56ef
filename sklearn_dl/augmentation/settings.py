"""From ``augmentation`` and ``augmentation_strength`` of an estimator to what training does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from sklearn_dl.augmentation.images import IMAGE_RULES
from sklearn_dl.augmentation.rules import ImageShape, Rule
from sklearn_dl.augmentation.tables import TABLE_RULES
from sklearn_dl.augmentation.users import UserFunction

__all__ = ["AUGMENTATIONS", "Augmentation", "augmentation_of"]

AUGMENTATIONS: dict[str, Rule] = {rule.name: rule for rule in (*TABLE_RULES, *IMAGE_RULES)}
AUGMENTATIONS["color"] = replace(AUGMENTATIONS["colour"], name="color")


@dataclass(frozen=True)
class Augmentation:
    """What a fit does to its batches.

    Attributes
    ----------
    rule : Rule or UserFunction
    strength : float
        In (0, 1] for a rule.
    image : tuple (channels, height, width) or None
        Where the rows are images, flattened.
    """

    rule: Rule | UserFunction
    strength: float
    image: ImageShape | None = None


def augmentation_of(
    augmentation: str | Callable[..., Tensor] | None,
    strength: float = 0.1,
    image: ImageShape | None = None,
) -> Augmentation | None:
    """Resolve the parameters of an estimator; None where nothing is done.

    Raises
    ------
    ValueError
        The augmentation makes no sense for these rows.
    """
    if augmentation is None:
        return None
    if not isinstance(augmentation, str):
        return Augmentation(UserFunction(augmentation), float(strength), image)
    rule = AUGMENTATIONS[augmentation]
    if rule.inputs == "images" and image is None:
        fit_for_tables = sorted(r.name for r in TABLE_RULES)
        raise ValueError(
            f"augmentation={augmentation!r} is for images, but X is a table. For images set "
            "module='cnn', or input_shape=(channels, height, width) for rows of pixels; for a "
            f"table there are {fit_for_tables}."
        )
    if rule.inputs == "tables" and image is not None:
        fit_for_images = sorted(name for name, r in AUGMENTATIONS.items() if r.inputs != "tables")
        raise ValueError(
            f"augmentation={augmentation!r} is for tables: pixels of different images put together "
            f"are no image. For images there are {fit_for_images}."
        )
    return Augmentation(rule, float(strength), image) if strength > 0 else None
