"""``sklearn-dl diagnose`` and ``cv``: from a table on disk to a verdict, or to scores."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import TimeSeriesSplit, cross_validate

from sklearn_dl import __version__
from sklearn_dl.batching import batched_fits
from sklearn_dl.cli.reading import InputError, Problem, read_problem
from sklearn_dl.cli.showing import show, show_scores
from sklearn_dl.diagnosis import Diagnosis
from sklearn_dl.diagnosis.cautions import find_cautions
from sklearn_dl.diagnosis.learning import loss_by_size
from sklearn_dl.diagnosis.row_losses import LogLoss
from sklearn_dl.diagnosis.study import run_diagnosis
from sklearn_dl.diagnosis.table import check_training_table, make_folds
from sklearn_dl.estimators import DLClassifier, DLRegressor

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 130


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
        commands = {"diagnose": _diagnose, "cv": _scores}
        commands[options.command](options)
    except InputError as error:
        print(f"sklearn-dl: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("sklearn-dl: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


EXAMPLES = """examples:
  sklearn-dl diagnose                                    the embedded table
  sklearn-dl diagnose houses.csv --target price          a table of your own
  sklearn-dl diagnose visits.csv.gz --target cost --groups patient --test next_year.csv
  sklearn-dl diagnose meter.parquet --target load --time hour --html report.html
  sklearn-dl diagnose houses.csv --target price --json | jq .verdict
  sklearn-dl cv houses.csv --target price                the scores alone

exit status: 0 with a result, 2 after one line on what is wrong with the input, 130 after Ctrl-C
"""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sklearn-dl", description="Why is my network not good enough?", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    diagnose = commands.add_parser(
        "diagnose",
        help="train, cross-validate and diagnose a network on a table",
        description="Train a network on a table, cross-validate it, say why it is not good enough "
        "and what to change. Without a table, on an embedded one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_table_options(diagnose)
    diagnose.add_argument("--test", metavar="FILE", help="rows as the model will meet them")
    diagnose.add_argument("--html", metavar="FILE", help="also write the report as a page")
    diagnose.add_argument("--budget", choices=("quick", "standard", "thorough"), default="standard")
    scores = commands.add_parser(
        "cv",
        help="cross-validated scores of a network on a table",
        description="Cross-validate a network with its defaults on a table: the scores alone.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_table_options(scores)
    scores.set_defaults(test=None)
    return parser


def _add_table_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("table", nargs="?", help=".csv or .tsv (compressed too) or .parquet file")
    command.add_argument(
        "--target", metavar="COLUMN", help="what to predict (default: column 'target')"
    )
    command.add_argument(
        "--groups", metavar="COLUMN", help="rows of one group are held out together; no input"
    )
    command.add_argument(
        "--time", metavar="COLUMN", help="each fold is judged on later rows; no input"
    )
    command.add_argument("--cv", type=int, default=5, metavar="K", help="folds (default: 5)")
    command.add_argument(
        "--task", choices=("classification", "regression"),
        help="classes or numbers (default: as the target looks)",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")


@contextmanager
def _watched() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time left on stderr; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    if not screen.is_terminal:  # before rich 14.3 even a disabled bar leaves an empty line
        yield lambda what, done, total: None
        return
    with Progress(console=screen, transient=True) as progress:
        bar = progress.add_task("starting", total=None)

        def listener(what: str, done: int, total: int) -> None:
            # a bar that pulses where nobody can say how much there is to do
            end = total + 1 if total else None
            progress.update(bar, description=what, completed=done, total=end)

        yield listener


def _console() -> Console:
    try:
        from rich.console import Console
    except ImportError:
        raise InputError('the command line needs rich: pip install "sklearn-dl[cli]"') from None
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=100)


def _network(problem: Problem, options: argparse.Namespace) -> Any:
    network = DLClassifier if problem.task == "classification" else DLRegressor
    return network(random_state=options.seed)


def _cv(problem: Problem, options: argparse.Namespace) -> Any:
    """Folds as the options want them."""
    return TimeSeriesSplit(options.cv) if problem.ordered else options.cv


def _diagnose(options: argparse.Namespace) -> None:
    out = _console()
    problem = read_problem(options)
    page = None if options.html is None else _writable(options.html)
    estimator = _network(problem, options)
    with _watched() as listener:
        diagnosis, curve = _measure(estimator, problem, options, listener)
        cautions = find_cautions(diagnosis)
    if page is not None:
        diagnosis.to_html(page, learning_curve=curve)
    if options.json:
        content = diagnosis.to_dict() | {
            "learning_curve": curve.to_dict(orient="records"),
            "remarks": list(problem.remarks),
            "cautions": cautions,
        }
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        show(out, problem, type(estimator).__name__, diagnosis, curve, cautions)


def _scores(options: argparse.Namespace) -> None:
    """`cv`: metrics by fold, the fits trained together."""
    out = _console()
    problem = read_problem(options)
    estimator = _network(problem, options)
    metrics = METRICS[problem.task]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.showwarning = _once()
        try:
            table = check_training_table(
                problem.X, problem.y, task=problem.task, groups=problem.groups
            )
            folds = make_folds(
                table, _cv(problem, options), task=problem.task,
                random_state=np.random.RandomState(options.seed), inside=False,
            )  # fmt: skip
            with _watched() as listener, batched_fits():
                listener("cross-validation", 0, 0)
                result = cross_validate(
                    estimator, problem.X, table.y, cv=list(folds.splits), scoring=metrics,
                    error_score="raise",
                )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise InputError(str(error)) from error
    lines = {m.removeprefix("neg_"): _signed(m, result[f"test_{m}"]) for m in metrics}
    scores = pd.DataFrame.from_dict(lines, orient="index")
    if options.json:
        content = {
            m: {"mean": float(v.mean()), "std": float(v.std()), "folds": v.tolist()}
            for m, v in scores.iterrows()
        }
        told = {"scores": content, "remarks": list(problem.remarks)}
        print(json.dumps(told, indent=2, allow_nan=False))
    else:
        show_scores(out, problem, type(estimator).__name__, scores)


def _neg_log_loss(fitted: Any, X: Any, y: Any) -> float:
    """As the diagnosis has it: a class that the fold never saw counts too, at the floor."""
    return -float(LogLoss()(fitted, X, y).mean())


METRICS: dict[str, dict[str, Any]] = {
    "classification": {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced_accuracy",
        "neg_log_loss": _neg_log_loss,
    },
    "regression": {m: m for m in ("r2", "neg_root_mean_squared_error", "neg_mean_absolute_error")},
}


def _signed(metric: str, values: Any) -> Any:
    """An error is shown as an error, and not as a negative score."""
    return -values if metric.startswith("neg_") else values


def _writable(path: str) -> Path:
    """Found out before the work, not after it."""
    page = Path(path)
    is_new = not page.exists()
    try:
        page.open("a").close()  # `touch` finds nothing wrong with a folder
        if is_new:  # no empty page is left where the diagnosis fails
            page.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    return page


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
                sample_weight=None, groups=problem.groups, cv=_cv(problem, options),
                scoring=scoring, budget=options.budget, random_state=options.seed,
                listener=listener,
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
