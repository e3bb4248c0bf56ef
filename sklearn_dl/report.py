"""A diagnosis as one self-contained HTML page: no script, no link, everything escaped."""

from __future__ import annotations

import math
from html import escape
from string import Template
from typing import Any

import pandas as pd

from sklearn_dl.diagnosis import Diagnosis, words

__all__ = ["to_html"]

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Diagnosis: $verdict</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #bbb; padding: .25rem .75rem; text-align: left; }
.number { text-align: right; }
.verdict { border-left: .5rem solid #333; padding-left: 1rem; font-size: 1.2rem; }
</style>
</head>
<body>
<h1>Why the model is not good enough</h1>
$flow
<p class="verdict">$conclusion</p>
<h2>Probabilities</h2>
$probabilities
<h2>Losses</h2>
<p>$loss; gaps up to $margin do not matter.</p>
$losses
<h2>Ledger</h2>
$ledger
<h2>What to change</h2>
$remedies
<h2>Evidence</h2>
$evidence
$notes
</body>
</html>
""")


def to_html(diagnosis: Diagnosis) -> str:
    """Render a diagnosis.

    Parameters
    ----------
    diagnosis : Diagnosis
        What `sklearn_dl.diagnose` returned.

    Returns
    -------
    str
        A whole page.
    """
    content = diagnosis.to_dict()
    steps = [
        f"<p><b>{escape(s['question'])}</b> {escape(s['answer'])}</p>" for s in content["flow"]
    ]
    remedies = [f"<li>{escape(words.remedy_line(remedy))}</li>" for remedy in diagnosis.remedies]
    notes = [f"<p>Note: {escape(note.rstrip('.'))}.</p>" for note in content["notes"]]
    return _PAGE.substitute(
        verdict=escape(content["verdict"]),
        flow="\n".join(steps),
        conclusion=escape(content["conclusion"]),
        probabilities=_table(diagnosis.probabilities.to_frame().reset_index(names="verdict")),
        loss=escape(content["loss"]),
        margin=words.number(content["margin"]),
        losses=_table(pd.DataFrame(content["losses"].items(), columns=["rows", "loss"])),
        ledger=_table(diagnosis.ledger.reset_index()),
        remedies=f"<ol>{''.join(remedies)}</ol>" if remedies else "<p>Nothing.</p>",
        evidence=_table(diagnosis.evidence),
        notes="\n".join(notes),
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        shown = words.number(value) if math.isfinite(value) else "&ndash;"
        return f'<td class="number">{shown}</td>'
    return f"<td>{escape(str(value))}</td>"


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(c))}</th>" for c in frame.columns)
    body = "".join(
        f"<tr>{''.join(_cell(v) for v in row)}</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
