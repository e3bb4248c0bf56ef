"""What every benchmark here needs: ratios within rounds, fresh processes, the machine in words."""

import os
import subprocess
import sys
from statistics import quantiles

import sklearn
import skorch
import torch
from threadpoolctl import threadpool_info

__all__ = ["PEAK", "child", "print_machine", "ratio"]

#: Source of ``start_peak()`` and ``peak_bytes(before)`` for programs that run in a fresh process:
#: peak memory is a high-water mark and cannot be lowered everywhere.
PEAK = """
import sys, resource, psutil

def start_peak():
    before = psutil.Process().memory_info().rss
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")  # Linux: start the high-water mark afresh
    except OSError:
        pass
    return before

def peak_bytes(before):
    try:
        with open("/proc/self/status") as f:
            peak = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return max(0, peak - before)
"""


def ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Median and quartiles of the ratios within rounds."""
    ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return middle, low, high


def child(program: str, *arguments: str) -> str:
    """What a program printed in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a measuring process failed:\n{done.stderr}")
    return done.stdout


def print_machine() -> None:
    """Versions, and the BLAS kernel numpy runs: a forced old one slows MLPClassifier."""
    print(f"torch {torch.__version__}, skorch {skorch.__version__}", end=", ")
    print(f"scikit-learn {sklearn.__version__}, CPUs {os.cpu_count()}")
    for library in threadpool_info():
        if library["user_api"] == "blas":
            name = os.path.basename(library["filepath"])
            print(f"BLAS {name}: {library.get('architecture')}, {library['num_threads']} thread(s)")
    forced = [name for name in os.environ if name.startswith("OPENBLAS_CORETYPE")]
    if forced:
        print(f"{forced[0]} is set: MLPClassifier may be slower than it need be; unset to compare")
