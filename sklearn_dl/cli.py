"""``sklearn-dl diagnose``: from a table on disk to a verdict in plain words."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_dl.datasets import default_table
from sklearn_dl.diagnosis import Diagnosis, words
from sklearn_dl.diagnosis.learning import loss_by_size
from sklearn_dl.diagnosis.study import run_diagnosis
from sklearn_dl.estimators import DLClassifier, DLRegressor

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["main"]

Task = Literal["classification", "regression"]

MAX_INTEGER_CLASSES = 20  # more different whole numbers than this are taken for numbers
BAD_INPUT = 2
INTERRUPTED = 130


class InputError(Exception):
    """The user's file, column or option is wrong; its text is the one line shown."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Words after the program's name; ``sys.argv`` by default.

    Returns
    -------
    int
        0 with a verdict, 2 after one line on stderr that says what is wrong.
    """
    try:
        options = _parser().parse_args(argv)
        _diagnose(options)
    except InputError as error:
        print(f"sklearn-dl: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("sklearn-dl: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sklearn-dl", description="Why is my network not good enough?")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    diagnose = commands.add_parser(
        "diagnose",
        help="train, cross-validate and diagnose a network on a table",
        description="Train a network on a table, cross-validate it, say why it is not good enough "
        "and what to change. Without a table, on an embedded one.",
    )
    diagnose.add_argument("table", nargs="?", help=".csv, .csv.gz or .parquet file")
    diagnose.add_argument(
        "--target", metavar="COLUMN", help="what to predict (default: column 'target')"
    )
    diagnose.add_argument("--test", metavar="FILE", help="rows as the model will meet them")
    diagnose.add_argument(
        "--groups", metavar="COLUMN", help="rows of one group are held out together; no input"
    )
    diagnose.add_argument("--html", metavar="FILE", help="also write the report as a page")
    diagnose.add_argument("--cv", type=int, default=5, metavar="K", help="folds (default: 5)")
    diagnose.add_argument("--task", choices=("classification", "regression"))
    diagnose.add_argument("--budget", choices=("quick", "standard", "thorough"), default="standard")
    diagnose.add_argument("--json", action="store_true", help="print the result as JSON")
    diagnose.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    return parser


@dataclass(frozen=True)
class Problem:
    """What is to be predicted from what, and how it was read."""

    X: pd.DataFrame
    y: pd.Series[Any]
    X_test: pd.DataFrame | None
    y_test: pd.Series[Any] | None
    task: Task
    description: str
    rule: str
    groups: pd.Series[Any] | None = None


def _diagnose(options: argparse.Namespace) -> None:
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        raise InputError('the command line needs rich: pip install "sklearn-dl[cli]"') from None
    problem = read_problem(options)
    page = None if options.html is None else _writable(options.html)
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=100)
    network = DLClassifier if problem.task == "classification" else DLRegressor
    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task("starting", total=None)

        def listener(what: str, done: int, total: int) -> None:
            progress.update(bar, description=what, completed=done, total=total + 1)

        diagnosis, curve = _measure(network(random_state=options.seed), problem, options, listener)
    if page is not None:
        diagnosis.to_html(page, learning_curve=curve)
    if options.json:
        content = diagnosis.to_dict() | {"learning_curve": curve.to_dict(orient="records")}
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        _show(out, problem, network.__name__, diagnosis, curve)


def _measure(
    estimator: Any,
    problem: Problem,
    options: argparse.Namespace,
    listener: Callable[[str, int, int], None],
) -> tuple[Diagnosis, pd.DataFrame]:
    scoring = "accuracy" if problem.task == "classification" else "r2"
    with warnings.catch_warnings():
        # Whether training converged is what the report says, in its own words.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.showwarning = _once()
        try:
            diagnosis = run_diagnosis(
                estimator, problem.X, problem.y, X_test=problem.X_test, y_test=problem.y_test,
                sample_weight=None, groups=problem.groups, cv=options.cv, scoring=scoring,
                budget=options.budget, random_state=options.seed, listener=listener,
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise InputError(str(error)) from error
        listener("learning curve", 1, 1)
        return diagnosis, loss_by_size(diagnosis, seed=options.seed)


def _once() -> Callable[..., None]:
    """Show each warning in one line, once: every fold of every reference repeats it."""
    seen: set[str] = set()

    def show(message: Warning | str, *where: object) -> None:
        text = " ".join(str(message).split())
        if text not in seen:
            seen.add(text)
            print(f"sklearn-dl: warning: {text}", file=sys.stderr)

    return show


# --- reading -----------------------------------------------------------------------------------


def read_problem(options: argparse.Namespace) -> Problem:
    """Read the tables and settle target and task.

    Raises
    ------
    InputError
        Whatever is wrong with the files or columns.
    """
    if options.table is None:
        frame, name, target = default_table(), "embedded table (breast cancer)", "target"
        if any(o is not None for o in (options.target, options.test, options.groups)):
            raise InputError(
                "--target, --test and --groups need a table: sklearn-dl diagnose TABLE ..."
            )
        # The rows are shuffled by nature; a quarter plays the test table so that the demonstration
        # shows every step.
        frame, test = train_test_split(
            frame, test_size=0.25, random_state=0, stratify=frame["target"]
        )
    else:
        frame, name = read_table(options.table), options.table
        target = _target_column(frame, options.target, name)
        test = None if options.test is None else read_table(options.test)
    task, rule = _task(frame[target], target, options.task)
    groups = _groups(frame, options.groups, target, name)
    frame = frame.drop(columns=[] if groups is None else str(options.groups))
    X, y = frame.drop(columns=target), frame[target]
    if X.shape[1] == 0:
        raise InputError(f"{name} has no column beside the target {target!r}")
    X_test, y_test = (None, None) if test is None else _test_rows(test, X, target, options.test)
    description = f"{name}: {len(X):,} rows, {X.shape[1]} columns, target {target!r}"
    if X_test is not None:
        description += f"; {len(X_test):,} test rows"
    if groups is not None:
        description += f"; {groups.nunique():,} groups by {options.groups!r}"
    return Problem(X, y, X_test, y_test, task, description, rule, groups)


def read_table(path: str) -> pd.DataFrame:
    """Read a csv or parquet file.

    Raises
    ------
    InputError
        Missing, unreadable, empty, of another kind.
    """
    file = Path(path)
    lower = file.name.lower()
    if not file.exists():
        raise InputError(f"no such file: {path}")
    if file.is_dir():
        raise InputError(f"{path} is a directory; give a .csv, .csv.gz or .parquet file")
    try:
        if lower.endswith((".csv", ".csv.gz")):
            frame = pd.read_csv(file, low_memory=False)
        elif lower.endswith((".parquet", ".pq")):
            frame = pd.read_parquet(file)
        else:
            raise InputError(f"{path} is neither .csv, .csv.gz nor .parquet")
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty") from None
    except ImportError:
        raise InputError('reading parquet needs pyarrow: pip install "sklearn-dl[cli]"') from None
    except (OSError, ValueError, EOFError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read: {_first_line(error)}") from error
    if frame.empty:
        raise InputError(f"{path} has no rows")
    return frame


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]


def _writable(path: str) -> Path:
    """Found out before the work, not after it."""
    page = Path(path)
    try:
        page.touch()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    return page


def _target_column(frame: pd.DataFrame, target: str | None, name: str) -> str:
    columns = [str(c) for c in frame.columns]
    frame.columns = pd.Index(columns)
    if target is None and "target" in columns:
        return "target"
    shown = ", ".join(columns[:40]) + (", ..." if len(columns) > 40 else "")
    if target is None:
        raise InputError(f"say what to predict with --target COLUMN; {name} has: {shown}")
    if target not in columns:
        raise InputError(f"no column {target!r}; {name} has: {shown}")
    if columns.count(target) > 1:
        raise InputError(f"{name} has {columns.count(target)} columns named {target!r}")
    return target


def _groups(
    frame: pd.DataFrame, column: str | None, target: str, name: str
) -> pd.Series[Any] | None:
    if column is None:
        return None
    if column == target or column not in frame.columns:
        seen = "is the target" if column == target else f"is no column of {name}"
        raise InputError(f"--groups {column!r} {seen}")
    return frame[column]


def _task(y: pd.Series[Any], name: str, asked: Task | None) -> tuple[Task, str]:
    """Classes or numbers, and the rule that says so."""
    if asked is not None:
        return asked, f"{asked}: as asked"
    kind = y.dropna().infer_objects()
    levels = kind.nunique()
    if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        return "classification", f"classification: {name!r} holds {levels} labels"
    values = kind.to_numpy(dtype=float)
    if levels <= MAX_INTEGER_CLASSES and np.equal(values, np.round(values)).all():
        rule = f"{levels} whole numbers, at most {MAX_INTEGER_CLASSES}"
        return "classification", f"classification: {name!r} has {rule} (--task regression if not)"
    return "regression", f"regression: {name!r} has {levels} different numbers"


def _test_rows(
    test: pd.DataFrame, X: pd.DataFrame, target: str, name: str
) -> tuple[pd.DataFrame, pd.Series[Any]]:
    test.columns = pd.Index([str(c) for c in test.columns])
    lacking = [c for c in [*X.columns, target] if c not in test.columns]
    if lacking:
        raise InputError(f"{name} lacks columns of the training table: {', '.join(lacking[:20])}")
    return test[list(X.columns)], test[target]


# --- showing -----------------------------------------------------------------------------------


def _show(
    out: Console, problem: Problem, network: str, diagnosis: Diagnosis, curve: pd.DataFrame
) -> None:
    content = diagnosis.to_dict()
    _say(out, problem.description)
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
    out.print()
    _say(out, "What to change:")
    if not diagnosis.remedies:
        _say(out, "  nothing in this network")
    for k, remedy in enumerate(diagnosis.remedies, start=1):
        _say(out, f"  {k}. {words.remedy_line(remedy)}")
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
    for row in evidence.itertuples(index=False):
        numbers = (_number(row.value), _number(row.threshold))
        table.add_row(str(row.code), str(row.question), *numbers, str(row.outcome))
    return table


if __name__ == "__main__":
    sys.exit(main())
