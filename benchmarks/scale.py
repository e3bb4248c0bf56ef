"""What do more rows and more workers cost, and what does it cost to survive a crash?

``python benchmarks/scale.py [--rows 10000 100000 1000000 10000000] [--parts rows order
checkpoints workers]``. Tables are made in ``--folder`` (about 1.3 GB for 1e7 rows) and deleted.
Every number of rows and hand has a process of its own. Seconds of processor are beside those of the
clock: on a busy machine only they can be compared. Exits with 1 where a target is missed.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import print_machine, ratio
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier

from sklearn_dl import PLAIN, DLClassifier, batched_fits, checkpoints

N_COLUMNS, PIECE, N_NEW = 32, 100_000, 100_000
#: The least of so many fits counts, up to a million rows: others use the caches too.
REPEATS = 3
HIDDEN, BATCH, RATE = (32,), 1024, 1e-3
#: Ten times the rows may cost at most so many times the processor's seconds ...
LINEAR = 12.0
#: ... and a fit from a file so much memory, whatever its rows beside their targets.
FLAT_MIB = 192.0
#: Seconds with a checkpoint after every epoch over those without, for a fit of a table.
CHECKPOINT_COST = 1.5
#: Rows sorted by class may cost so much accuracy beside rows in no order.
ORDER_COST = 0.01


# the rows


def labels(X: np.ndarray) -> np.ndarray:
    """Two classes of equal size, by a rule that no straight line tells."""
    return (np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.5 * X[:, 3] > 0).astype(np.int64)


def pieces(n: int) -> Iterator[slice]:
    for start in range(0, n, PIECE):
        yield slice(start, min(start + PIECE, n))


def make_table(path: Path, n: int, *, sort: bool = False) -> None:
    """Write X and y; sorted: all rows of one class, then all of the other."""
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n, N_COLUMNS))
    y, ends = np.empty(n, np.int64), [0, n]
    for i, rows in enumerate(pieces(n)):
        x = np.random.default_rng(i).standard_normal((rows.stop - rows.start, N_COLUMNS), "f4")
        if not sort:
            X[rows], y[rows] = x, labels(x)
            continue
        for label in (0, 1):
            part = x[labels(x) == label]
            at = slice(ends[0], ends[0] + len(part)) if label == 0 else None
            at = at or slice(ends[1] - len(part), ends[1])
            X[at], y[at] = part, label
            ends[label] = at.stop if label == 0 else at.start
    X.flush()
    np.save(path.with_suffix(".y.npy"), y)


# the hands: one epoch over all rows


def from_file(X: np.ndarray, y: np.ndarray) -> Any:
    settings = {"hidden_layer_sizes": HIDDEN, "batch_size": BATCH, "learning_rate": RATE}
    return DLClassifier(**PLAIN | settings, max_epochs=1, random_state=0).fit(X, y)


def by_pieces(model: Any) -> Callable[[np.ndarray, np.ndarray], Any]:
    def fit(X: np.ndarray, y: np.ndarray) -> Any:
        for rows in pieces(len(y)):
            model.partial_fit(np.array(X[rows]), y[rows], classes=[0, 1])
        return model

    return fit


def hands() -> dict[str, Callable[[np.ndarray, np.ndarray], Any]]:
    ours = {"hidden_layer_sizes": HIDDEN, "batch_size": BATCH, "learning_rate": RATE}
    theirs = {"hidden_layer_sizes": HIDDEN, "batch_size": BATCH, "learning_rate_init": RATE}
    return {
        "fit": from_file,
        "partial_fit": by_pieces(DLClassifier(**PLAIN | ours, random_state=0)),
        "MLPClassifier": by_pieces(MLPClassifier(**theirs, alpha=0.0, random_state=0)),
        "SGDClassifier": by_pieces(SGDClassifier(loss="log_loss", random_state=0)),
    }


def anonymous_mib() -> float:
    """Memory that is no page of a file, which the system could drop at any time."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def run_one(hand: str, path: str) -> None:
    """Fit once in this process, and print what it took as JSON."""
    X, y = np.load(path, mmap_mode="r"), np.load(Path(path).with_suffix(".y.npy"))
    some = np.linspace(0, len(y) - 1, 2000).astype(int)
    hands()[hand](np.array(X[some]), y[some])  # imports and first calls
    before, seen, done = anonymous_mib(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(anonymous_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    spent = []
    for _ in range(REPEATS if len(y) <= 10**6 else 1):
        clock, processor = time.perf_counter(), time.process_time()
        model = hands()[hand](X, y)
        spent.append((time.process_time() - processor, time.perf_counter() - clock))
    processor, clock = min(spent)
    done.set()
    watcher.join()
    new = np.random.default_rng(10**6).standard_normal((N_NEW, N_COLUMNS), "f4")
    found = {
        "seconds": clock,
        "processor": processor,
        "mib": max(seen) - before,
        "accuracy": float((model.predict(new) == labels(new)).mean()),
    }
    print(json.dumps(found))


def measured(hand: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", hand, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a measuring process failed:\n{done.stderr}")
    return dict(json.loads(done.stdout))


# the parts


def rows_part(sizes: list[int], folder: Path) -> list[str]:
    missed, found = [], {}
    print(f"\none epoch over n x {N_COLUMNS} float32 from a file, batches of {BATCH}")
    for n in sizes:
        path = folder / "rows.npy"
        make_table(path, n)
        for hand in hands():
            found[hand, n] = one = measured(hand, path)
            line = f"{n:>10,}  {hand:<14} {one['processor']:8.2f} s of processor"
            line += f" {one['seconds']:8.2f} s of clock {one['mib']:7.0f} MiB"
            print(f"{line}  accuracy {one['accuracy']:.4f}", flush=True)
        path.unlink()
    for hand in hands():
        for small, large in pairwise(sizes):
            times = found[hand, large]["processor"] / found[hand, small]["processor"]
            print(f"{hand:<14} {small:>10,} -> {large:>10,}: {times:5.2f} x the processor's time")
            # of few rows, the start is most of the cost
            if hand == "fit" and small >= 10**6 and times > LINEAR * large / small / 10:
                missed.append(f"fit grows {times:.1f} times from {small:,} to {large:,} rows")
        largest = found[hand, sizes[-1]]
        print(f"{hand:<14} over fit at {sizes[-1]:,}: ", end="")
        print(f"{largest['processor'] / found['fit', sizes[-1]]['processor']:.2f}")
    peak = found["fit", sizes[-1]]["mib"]
    if peak > FLAT_MIB:
        missed.append(f"fit takes {peak:.0f} MiB at {sizes[-1]:,} rows")
    return missed


def order_part(n: int, folder: Path) -> list[str]:
    print(f"\n{n:,} rows in a file, in no order and sorted by class: accuracy after one epoch")
    accuracy = {}
    for name, sort in (("no order", False), ("sorted", True)):
        path = folder / "order.npy"
        make_table(path, n, sort=sort)
        for hand in ("fit", "partial_fit"):
            accuracy[name, hand] = measured(hand, path)["accuracy"]
            print(f"{name:<10} {hand:<12} {accuracy[name, hand]:.4f}", flush=True)
        path.unlink()
    lost = accuracy["no order", "fit"] - accuracy["sorted", "fit"]
    return [f"sorted rows cost {lost:.3f}"] if lost > ORDER_COST else []


def checkpoints_part(repeats: int) -> list[str]:
    """Fits without, within, and with a checkpoint after every epoch, in turn."""
    X, y = load_digits(return_X_y=True)
    missed = []
    for name, network in {
        "PLAIN 128-128, 20 epochs": DLClassifier(**PLAIN, max_epochs=20, random_state=0),
        "the defaults, 20 epochs": DLClassifier(max_epochs=20, random_state=0),
    }.items():
        times: dict[str, list[float]] = {"without": [], "every minute": [], "every epoch": []}
        for _ in range(repeats):
            for how, taken in times.items():
                with ExitStack() as exits:
                    if how != "without":
                        folder = exits.enter_context(tempfile.TemporaryDirectory())
                        every = 1 if how == "every epoch" else None
                        exits.enter_context(checkpoints(folder, every_epochs=every))
                    start = time.process_time()
                    network.fit(X, y)
                    taken.append(time.process_time() - start)
        for how in ("every minute", "every epoch"):
            middle, low, high = ratio(times[how], times["without"])
            print(f"{name}: {how} over without {middle:.2f} ({low:.2f} to {high:.2f})", flush=True)
            if middle > CHECKPOINT_COST:
                missed.append(f"{name}: {how} costs {middle:.2f}")
    rows = np.random.default_rng(0).standard_normal((200_000, 128), "f4")
    start = time.process_time()
    hashlib.sha256(rows.data)
    seconds = (time.process_time() - start) * 2**30 / rows.nbytes
    print(f"SHA-256: {seconds:.1f} s for a GiB of encoded rows")
    return missed


def workers_part(numbers: list[int]) -> list[str]:
    """A search on workers of a LocalCluster; processes have started before the clock does."""
    from distributed import Client, LocalCluster

    X = np.random.default_rng(0).standard_normal((20_000, N_COLUMNS), "f4")
    network = DLClassifier(**PLAIN, max_epochs=4, random_state=0)
    search = GridSearchCV(network, {"learning_rate": np.logspace(-4, -2, 8)}, cv=5, refit=False)
    seconds, scores = {}, []
    for n in numbers:
        with (
            LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
            batched_fits(executor=client.get_executor()) as batches,
        ):
            GridSearchCV(network, {"learning_rate": [1e-3] * n}, cv=2).fit(X[:500], labels(X[:500]))
            start, before = time.perf_counter(), len(batches.stacks)
            search.fit(X, labels(X))
            seconds[n] = time.perf_counter() - start
            stacks = batches.stacks[before:]
        scores.append(search.cv_results_["mean_test_score"])
        gain = seconds[numbers[0]] / seconds[n]
        print(f"{n} workers: {seconds[n]:.1f} s, {gain:.2f} times as fast, stacks {stacks}")
    apart = max(float(np.abs(one - scores[0]).max()) for one in scores)
    print(f"largest difference of a mean score: {apart:.2g}")
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--parts", nargs="+", default=["rows", "order", "checkpoints", "workers"])
    parser.add_argument("--order-rows", type=int, default=3 * 10**6)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.one:
        run_one(*given.one)
        return
    print_machine()
    missed = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if "rows" in given.parts:
            missed += rows_part(given.rows, Path(folder))
        if "order" in given.parts:
            missed += order_part(given.order_rows, Path(folder))
    if "checkpoints" in given.parts:
        missed += checkpoints_part(given.repeats)
    if "workers" in given.parts:
        missed += workers_part(given.workers)
    for line in missed:
        print("MISSED:", line)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
