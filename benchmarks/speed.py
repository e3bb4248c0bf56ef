"""What does a plain fit cost beside its peers: seconds, memory, import time?

``python benchmarks/speed.py [--repeats 7] [--parts fit memory import]``. One thread; the hands take
turns, so that a slow minute of the machine falls on all; a ratio is taken within each round.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"  # before numpy and torch are imported, here and in the children
# A package that is installed is compiled once; the first, untimed import does so for a checkout.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import torch
from peers import PEERS, WORKS, Work, fit_ours
from rounds import PEAK, child, print_machine, ratio

# Work name -> peer -> (our seconds over the peer's: at most) or (the peer's over ours: at least).
TARGETS = {
    "30-32-2": {"bare torch": 1.3, "skorch": 1.8, "MLPClassifier": 0.6},
    "64-128-128-10": {"bare torch": 1.2, "skorch": 2.1, "MLPClassifier": 0.9},
    "64-512-512-10": {"bare torch": 1.2, "skorch": 1.15, "MLPClassifier": 1.1},
}
MEMORY_TARGET = 1.5  # peak beyond X itself, in times of X, at the largest n
MEMORY_ROWS = (256, 10_000, 100_000, 1_000_000)  # the first shows what starting up costs
MEMORY_COLUMNS = 50
IMPORT_TARGET = 0.3  # seconds over the dependencies
DEPENDENCIES = "import torch, sklearn, skorch, pandas"
IMPORTS = {
    DEPENDENCIES: DEPENDENCIES,
    "... and sklearn_dl": f"{DEPENDENCIES}, sklearn_dl",
    "... and its everyday names": f"{DEPENDENCIES}\nfrom sklearn_dl import *",
}
IMPORT_PROGRAM = """
import time
start, cpu = time.perf_counter(), time.process_time()
{statement}
print(time.perf_counter() - start, time.process_time() - cpu)
"""


@dataclass(frozen=True)
class Timing:
    """Seconds of one hand, a value a repeat, and the training loss it reached."""

    seconds: list[float]
    losses: list[float]


def time_work(work: Work, repeats: int) -> dict[str, Timing]:
    """Hands in turn, ``repeats`` times after one untimed short round."""
    X, y = work.data()
    hands: dict[str, Callable[..., Any]] = {"sklearn_dl": fit_ours, **PEERS}
    timings = {name: Timing([], []) for name in hands}
    for fit in hands.values():
        fit(replace(work, epochs=1), X, y, 0)
    for seed in range(repeats):
        names = list(hands)
        turn = seed % len(names)
        for name in names[turn:] + names[:turn]:  # nobody is always first
            start = perf_counter()
            model = hands[name](work, X, y, seed)
            timings[name].seconds.append(perf_counter() - start)
            right = model.predict_proba(X)[np.arange(len(y)), y]
            timings[name].losses.append(float(-np.log(right.astype(np.float64)).mean()))
    return timings


def print_work(work: Work, timings: dict[str, Timing]) -> bool:
    """A line a hand; True where every target is met."""
    steps = work.steps(len(work.data()[0]))
    print(f"\n{work.name}, batches of {work.batch_size}, {work.epochs} epochs, {steps} steps")
    print(f"  {'':14s} {'seconds':>8s} {'us/step':>8s} {'loss':>8s}  ratio (quartiles), target")
    mine, all_met = timings["sklearn_dl"].seconds, True
    for name, timing in timings.items():
        seconds = median(timing.seconds)
        line = (
            f"  {name:14s} {seconds:8.3f} {1e6 * seconds / steps:8.0f} {median(timing.losses):8.4f}"
        )
        if name in PEERS:
            target, to_bare = TARGETS[work.name][name], name == "bare torch"
            pair = (mine, timing.seconds) if to_bare else (timing.seconds, mine)
            middle, low, high = ratio(*pair)
            met = middle <= target if to_bare else middle >= target
            all_met &= met
            line += (
                f"  {'ours/its' if to_bare else 'its/ours'} {middle:.2f} ({low:.2f} to {high:.2f}),"
                f" {'at most' if to_bare else 'at least'} {target}: {'met' if met else 'MISSED'}"
            )
        print(line)
    return all_met


MEMORY_PROGRAM = f"""{PEAK}
import warnings
import numpy as np
from sklearn_dl import PLAIN, DLClassifier
from sklearn.neural_network import MLPClassifier
warnings.simplefilter("ignore")
hand, n, p = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
models = {{
    "sklearn_dl, PLAIN": lambda: DLClassifier(**{{**PLAIN, "max_epochs": 1}}),
    "sklearn_dl, defaults": lambda: DLClassifier(max_epochs=1),
    "MLPClassifier": lambda: MLPClassifier(max_iter=1),
}}
rng = np.random.default_rng(0)
X = rng.standard_normal((n, p), dtype=np.float32)
y = (X[:, 0] > 0).astype(np.int64)
model = models[hand]()
before = start_peak()
model.fit(X, y)
print(peak_bytes(before), X.nbytes)
"""
MEMORY_HANDS = ("sklearn_dl, PLAIN", "sklearn_dl, defaults", "MLPClassifier")


def measure_memory() -> bool:
    """Peak while fitting float32 X, beyond what was held when X existed; True if on target."""
    print(
        f"\npeak memory beyond X while fitting one epoch, X float32 with {MEMORY_COLUMNS} columns"
    )
    print(f"  {'':20s} {'rows':>9s} {'X, MiB':>8s} {'peak, MiB':>10s} {'times X':>8s}")
    all_met = True
    for hand in MEMORY_HANDS:
        for n_rows in MEMORY_ROWS:
            peak, size = map(
                int, child(MEMORY_PROGRAM, hand, str(n_rows), str(MEMORY_COLUMNS)).split()
            )
            line = f"  {hand:20s} {n_rows:9,d} {size / 2**20:8.1f}"
            line += f" {peak / 2**20:10.1f} {peak / size:8.2f}"
            if n_rows == MEMORY_ROWS[-1] and hand.startswith("sklearn_dl"):
                met = peak / size <= MEMORY_TARGET
                all_met &= met
                line += f"  at most {MEMORY_TARGET}: {'met' if met else 'MISSED'}"
            print(line, flush=True)
    return all_met


def measure_imports(repeats: int) -> bool:
    """Seconds in fresh processes, in turn after one untimed round; True if on target.

    By the clock, which is what a user waits, and of the processor, which others' work leaves alone.
    """
    seconds: dict[str, list[list[float]]] = {name: [] for name in IMPORTS}
    for repeat in range(repeats + 1):
        for name, statement in IMPORTS.items():
            taken = [float(t) for t in child(IMPORT_PROGRAM.format(statement=statement)).split()]
            if repeat:  # the first reads the disk
                seconds[name].append(taken)
    print("\nimport time, fresh processes")
    base, all_met = np.array(seconds[DEPENDENCIES]), True
    for name, values in seconds.items():
        clock, cpu = np.median(values, axis=0)
        line = f"  {name:42s} {clock:6.2f} s (CPU {cpu:.2f})"
        if name != DEPENDENCIES:
            clock, cpu = np.median(np.array(values) - base, axis=0)
            met = clock < IMPORT_TARGET
            all_met &= bool(met)
            line += f"  over it {clock:5.2f} s (CPU {cpu:.2f})"
            line += f", under {IMPORT_TARGET}: {'met' if met else 'MISSED'}"
        print(line)
    return all_met


def main() -> int:
    """Run the parts asked for; 0 where every target is met, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7, help="rounds of each part (7)")
    parser.add_argument("--parts", nargs="+", choices=("fit", "memory", "import"))
    parser.add_argument("--works", nargs="+", choices=[work.name for work in WORKS])
    arguments = parser.parse_args()
    parts = arguments.parts or ("fit", "memory", "import")
    torch.set_num_threads(1)
    print_machine()
    met = []
    if "fit" in parts:
        for work in WORKS:
            if not arguments.works or work.name in arguments.works:
                met.append(print_work(work, time_work(work, arguments.repeats)))
    if "memory" in parts:
        met.append(measure_memory())
    if "import" in parts:
        met.append(measure_imports(arguments.repeats))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
