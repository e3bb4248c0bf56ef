"""How well, and how fast, does the shipped convolutional network read 28 x 28 digits?

``python benchmarks/images.py --data FOLDER --cache images.jsonl [--parts peers curve cost]``. One
thread unless ``--threads`` says otherwise. FOLDER holds mnist15k.parquet: 5,000 rows of the MNIST
training set, then the official 10,000 test rows. Fits are appended to the cache, so an interrupted
run goes on; the peers meet the same rows in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

N_TRAIN = 5000
ACCURACY, SECONDS = 0.985, 180.0  # at N_TRAIN rows, on two cores
SIZES = (250, 500, 1000, 2000)
HALF_A_STEP = 0.5  # what augmentation may cost
AUGMENTED = {"augmentation": "affine"}
REPEATS = 5


def load(folder: Path) -> tuple[Any, Any]:
    """Images (15000, 28, 28) and labels."""
    import pandas as pd

    table = pd.read_parquet(folder / "mnist15k.parquet")
    y = table.pop("target").to_numpy().astype(int)
    return table.to_numpy().astype(np.float32).reshape(-1, 28, 28), y


def hands() -> dict[str, Any]:
    """Name -> estimator; the last three read rows of pixels."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler
    from sklearn.svm import SVC

    from sklearn_dl import DLClassifier

    net = DLClassifier(module="cnn", random_state=0)
    mlp = MLPClassifier((128, 128), early_stopping=True, random_state=0)
    return {
        "cnn": net,
        "cnn, augmented": DLClassifier(module="cnn", random_state=0, **AUGMENTED),
        "MLPClassifier": make_pipeline(MinMaxScaler(), mlp),
        "SVC": make_pipeline(MinMaxScaler(), SVC()),
        "HistGradientBoosting": HistGradientBoostingClassifier(random_state=0),
    }


class Cache:
    """Results by key, appended to a file of one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, dict[str, float]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self.known[entry.pop("key")] = entry

    def result(self, key: str, X: Any, y: Any, train: Any, estimator: Any) -> dict[str, float]:
        """Accuracy on the test rows and seconds of the fit, measured where they are not known."""
        if key not in self.known:
            rows = X if key.startswith("cnn") else X.reshape(len(X), -1)
            wall, cpu = time.perf_counter(), time.process_time()
            estimator.fit(rows[train], y[train])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            accuracy = float(estimator.score(rows[N_TRAIN:], y[N_TRAIN:]))
            entry = {"accuracy": accuracy, "seconds": wall, "cpu_seconds": cpu}
            with self.path.open("a") as file:
                file.write(json.dumps({"key": key, **entry}) + "\n")
            self.known[key] = entry
        return self.known[key]


def peers(X: Any, y: Any, cache: Cache) -> bool:
    """All hands on all training rows."""
    train, best = np.arange(N_TRAIN), 0.0
    print(f"\n{N_TRAIN} rows, official test rows: accuracy, seconds of the fit (CPU seconds)")
    for name, estimator in hands().items():
        found = cache.result(name, X, y, train, estimator)
        seconds = f"{found['seconds']:6.1f} ({found['cpu_seconds']:.1f})"
        print(f"  {name:22} {found['accuracy']:.4f}  {seconds}", flush=True)
        if name.startswith("cnn") and found["seconds"] <= SECONDS:
            best = max(best, found["accuracy"])
    print(f"  target {ACCURACY} within {SECONDS:.0f} s: {'met' if best >= ACCURACY else 'NOT MET'}")
    return best >= ACCURACY


def curve(X: Any, y: Any, cache: Cache, seeds: int, sizes: list[int]) -> bool:
    """Errors over the number of rows with and without augmentation, by pairs of fits."""
    from scipy.stats import t

    print("\nErrors in per cent: rows, seeds, without, with, gain with its 95 % interval")
    lowest = []
    for n in sizes:
        errors = np.zeros((seeds, 2))
        for seed in range(seeds):
            train = np.random.default_rng(seed).permutation(N_TRAIN)[:n]
            for k, name in enumerate(("cnn", "cnn, augmented")):
                net = hands()[name].set_params(random_state=seed)
                found = cache.result(f"{name}, {n} rows, seed {seed}", X, y, train, net)
                errors[seed, k] = 100 * (1 - found["accuracy"])
        gain = errors[:, 0] - errors[:, 1]
        half = t.ppf(0.975, seeds - 1) * gain.std(ddof=1) / np.sqrt(seeds)
        lowest.append(gain.mean() - half)
        without, augmented = errors.mean(0)
        print(
            f"  {n:5d}  {seeds}  {without:5.2f}  {augmented:5.2f}  "
            f"{gain.mean():5.2f} [{gain.mean() - half:.2f}, {gain.mean() + half:.2f}]",
            flush=True,
        )
    return min(lowest) > 0


def cost() -> bool:
    """Time of a training step with each augmentation over that without, in alternation."""
    from sklearn_dl.augmentation import AUGMENTATIONS, augmentation_of
    from sklearn_dl.losses import classifier_loss
    from sklearn_dl.nn import Architecture
    from sklearn_dl.optimizers import optimizer_spec
    from sklearn_dl.training import DenseInputs, Examples, FitJob, Recipe
    from sklearn_dl.training.loop import Stack
    from sklearn_dl.training.model import Model

    def stack(name: str | None, image: Any, n_features: int, n_models: int, batch: int) -> Stack:
        g = torch.Generator().manual_seed(0)
        rows = DenseInputs(torch.randn(2 * batch, n_features, generator=g))
        target = torch.randint(10, (2 * batch,), generator=g)
        module = "cnn" if image else "mlp"
        channels = (16, 32) if image else ()
        job = FitJob(
            Architecture(module, n_features, 10, (128, 128), image=image, channels=channels),
            classifier_loss("cross_entropy", multilabel=False),
            Recipe(
                optimizer_spec("adamw", momentum=None, rms_decay=None), 1e-3, batch, 1000,
                augmentation=augmentation_of(name, 0.1, image),
            ),
            Examples(rows, target), seed=0,
        )  # fmt: skip
        return Stack([Model(job) for _ in range(n_models)], [None] * n_models)

    print("\nA step with augmentation over one without, minus 1 (median of pairs)")
    most = 0.0
    for what, image, n_features, n_models, batch in (
        ("one cnn, 28 x 28, batch 32", (1, 28, 28), 784, 1, 32),
        ("five cnn, 8 x 8, batch 32", (1, 8, 8), 64, 5, 32),
        ("one table net, 30 columns, batch 128", None, 30, 1, 128),
        ("forty table nets, 30 columns, batch 64", None, 30, 40, 64),
    ):
        names = [n for n, r in AUGMENTATIONS.items() if n != "color" and _fits(r.inputs, image)]
        stacks = {name: stack(name, image, n_features, n_models, batch) for name in names}
        plain = stack(None, image, n_features, n_models, batch)
        ratios: dict[str, list[float]] = {name: [] for name in names}
        for repeat in range(REPEATS + 1):
            for name in names:
                base, own = _epoch(plain), _epoch(stacks[name])
                if repeat:  # the first warms up
                    ratios[name].append(own / base - 1)
        shown = {name: median(values) for name, values in ratios.items()}
        most = max(most, *shown.values())
        print(f"  {what}: " + ", ".join(f"{k} {v:.2f}" for k, v in shown.items()), flush=True)
    print(f"  target {HALF_A_STEP}: {'met' if most <= HALF_A_STEP else 'NOT MET'}")
    return most <= HALF_A_STEP


def _fits(inputs: str, image: Any) -> bool:
    return inputs == "any" or (inputs == "images") == (image is not None)


def _epoch(stack: Any) -> float:
    start = time.process_time()
    for _ in range(1 if stack.models[0].job.step_flops > 1e8 else 10):
        stack.train_epoch()
    return time.process_time() - start


def main() -> int:
    """Run the parts asked for; 0 where every target is met, 1 otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("images.jsonl"))
    parser.add_argument("--parts", nargs="+", choices=("peers", "curve", "cost"))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    parts = arguments.parts or ("peers", "curve", "cost")
    with threadpool_limits(arguments.threads):
        torch.set_num_threads(arguments.threads)
        return run(parts, arguments)


def run(parts: Sequence[str], arguments: argparse.Namespace) -> int:
    """The parts one after another."""
    met = [cost()] if "cost" in parts else []
    if {"peers", "curve"} & set(parts):
        X, y = load(arguments.data)
        cache = Cache(arguments.cache)
        if "peers" in parts:
            met.append(peers(X, y, cache))
        if "curve" in parts:
            met.append(curve(X, y, cache, arguments.seeds, arguments.sizes))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
