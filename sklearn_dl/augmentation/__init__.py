"""What is done to the rows of a batch in training only: a name or a user's function, a strength."""

from sklearn_dl.augmentation.rules import Draws, Mixed, Rule
from sklearn_dl.augmentation.settings import AUGMENTATIONS, Augmentation, augmentation_of
from sklearn_dl.augmentation.users import UserFunction

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Draws",
    "Mixed",
    "Rule",
    "UserFunction",
    "augmentation_of",
]
