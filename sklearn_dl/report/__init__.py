"""How does a diagnosis look as one self-contained HTML page, and in a notebook?"""

from sklearn_dl.report.page import to_fragment, to_html

__all__ = ["to_fragment", "to_html"]
