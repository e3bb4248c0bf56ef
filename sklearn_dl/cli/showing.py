"""Tables and sentences for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sklearn_dl.cli.reading import Problem
from sklearn_dl.diagnosis import Diagnosis, words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["show", "show_scores"]


def show(
    out: Console,
    problem: Problem,
    network: str,
    diagnosis: Diagnosis,
    curve: pd.DataFrame,
    cautions: list[str],
) -> None:
    """The whole diagnosis, from how the table was read to what to change."""
    content = diagnosis.to_dict()
    _say(out, problem.description)
    for remark in problem.remarks:
        _say(out, f"Read: {remark}")
    _say(out, f"Task: {problem.rule}")
    _say(out, f"Network: {network}() with its defaults, {content['n_fits']} fits")
    out.print()
    out.print(_losses_table(content))
    out.print(_curve_table(curve))
    out.print()
    for step in content["flow"]:
        _say(out, f"{step['question']} {step['answer']}")
    out.print()
    _say(out, f"Verdict: {content['conclusion']}", style="bold")
    chances = {k: p for k, p in content["probabilities"].items() if p >= 0.01}
    ranked = sorted(chances.items(), key=lambda item: -item[1])
    _say(out, "Probabilities: " + ", ".join(f"{k} {p:.2f}" for k, p in ranked))
    out.print()
    out.print(_ledger_table(diagnosis.ledger, content["margin"]))
    out.print(_evidence_table(diagnosis.evidence))
    absent = diagnosis.evidence.query("outcome == 'not applicable'")["code"]
    if len(absent):
        _say(out, f"Not applicable here: {', '.join(absent)}")
    out.print()
    _say(out, "What to change:")
    if not diagnosis.remedies:
        _say(out, "  nothing in this network")
    for k, remedy in enumerate(diagnosis.remedies, start=1):
        _say(out, f"  {k}. {words.remedy_line(remedy)}")
    for caution in cautions:
        _say(out, f"Caution: {caution}.")
    for note in content["notes"]:
        _say(out, f"Note: {note.rstrip('.')}.")


def _say(out: Console, text: str, **options: Any) -> None:
    """The user's own words may hold brackets, which are no markup."""
    out.print(text, markup=False, **options)


def _table(title: str, **columns: str) -> Table:
    """A table with its columns and their alignment."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name, justify in columns.items():
        table.add_column(name.replace("_", " "), justify=justify)  # type: ignore[arg-type]
    return table


def _number(value: Any) -> str:
    return "-" if value is None or not np.isfinite(value) else words.number(float(value))


def _losses_table(content: dict[str, Any]) -> Table:
    table = _table(f"Losses: {content['loss']}", rows="left", loss="right", score="right")
    scores = content["scores"]
    for name, loss in (content["losses"] | {"test": content["losses"].get("test")}).items():
        label = {"prior": "prior (no model)", "reference": "best reference"}.get(name, name)
        shown = "not applicable: no --test" if loss is None else _number(loss)
        table.add_row(label.replace("_", "-"), shown, _number(scores.get(name)))
    return table


def _curve_table(curve: pd.DataFrame) -> Table:
    table = _table(
        "Learning curve", rows="right", training="right", out_of_fold="right", stderr="right"
    )
    for line in curve.itertuples(index=False):
        table.add_row(f"{line.rows:,}", *(_number(v) for v in line[1:]))
    return table


def _ledger_table(ledger: pd.DataFrame, margin: float) -> Table:
    title = f"Ledger: what each cause costs (below {_number(margin)} it does not matter)"
    # "score", the user's metric, is there where one was asked for
    table = _table(title, cause="left", **dict.fromkeys(map(str, ledger.columns), "right"))
    for cause, *numbers in ledger.itertuples(name=None):
        table.add_row(str(cause), *(_number(v) for v in numbers))
    return table


def _evidence_table(evidence: pd.DataFrame) -> Table:
    table = _table(
        "Evidence", code="left", question="left", value="right", threshold="right", outcome="left"
    )
    for row in evidence[evidence["outcome"] != "not applicable"].itertuples(index=False):
        numbers = (_number(row.value), _number(row.threshold))
        table.add_row(str(row.code), str(row.question), *numbers, str(row.outcome))
    return table


def show_scores(out: Console, problem: Problem, network: str, scores: pd.DataFrame) -> None:
    """Metrics of `cv`, a line each."""
    _say(out, problem.description)
    for remark in problem.remarks:
        _say(out, f"Read: {remark}")
    _say(out, f"Task: {problem.rule}")
    table = _table(
        f"{network}() with its defaults", metric="left", mean="right", std="right", folds="left"
    )
    for metric, line in scores.iterrows():
        folds = " ".join(_number(v) for v in line)
        table.add_row(str(metric), _number(line.mean()), _number(line.std()), folds)
    out.print(table)
