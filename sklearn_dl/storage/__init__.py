"""How does a fitted model travel as one file that runs nothing when it is opened?"""

from sklearn_dl.storage.files import load_model, save_model

__all__ = ["load_model", "save_model"]
