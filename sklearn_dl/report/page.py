"""The report's text in its template: everything escaped, no script, nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from itertools import count

import jinja2
import pandas as pd

from sklearn_dl.diagnosis import Diagnosis
from sklearn_dl.report.content import content

__all__ = ["to_fragment", "to_html"]

_fragments = count(1)  # ids must differ between the outputs of one notebook


def to_html(diagnosis: Diagnosis, learning_curve: pd.DataFrame | None = None) -> str:
    """Render a diagnosis as a whole page.

    Parameters
    ----------
    diagnosis : Diagnosis
        What `sklearn_dl.diagnose` returned.
    learning_curve : DataFrame or None
        What `sklearn_dl.diagnosis.learning.loss_by_size` returned; it is drawn.

    Returns
    -------
    str
        One file: no script, no font, image or style from elsewhere.
    """
    template = _templates().get_template("page.html.jinja")
    return template.render(d=content(diagnosis, learning_curve), id="")


def to_fragment(diagnosis: Diagnosis) -> str:
    """Render a diagnosis for a notebook's cell."""
    template = _templates().get_template("fragment.html.jinja")
    return template.render(d=content(diagnosis), id=f"sklearn-dl-{next(_fragments)}-")


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("sklearn_dl.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
