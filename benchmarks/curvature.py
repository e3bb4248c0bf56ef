"""Both ends of the Hessian's spectrum: ours against scipy's eigsh, on our products and curvlinops'.

    python benchmarks/curvature.py [--quick]

Tanh networks on the digits, all 1,797 rows, float64, one thread, 30 epochs of Adam. Three hands:
``ours`` (one Lanczos run), ``eigsh`` (scipy's ``which="BE", k=2`` on our products), ``curvlinops``
(eigsh on its ``HessianLinearOperator``; needs curvlinops-for-pytorch). Errors are relative to the
dense Hessian's eigenvalues where it fits, else to ours at tol 1e-8.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
import time
import warnings

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits
from torch import nn

from sklearn_dl.curvature import hessian_extremes, hessian_operator

HIDDEN = {"1e3": (13,), "4e3": (50,), "1e4": (92, 40), "1e5": (300, 260)}
#: The dense Hessian is built up to so many parameters.
DENSE = 5000
TOL = 1e-3


def cross_entropy(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output, y, reduction="none")


def trained(hidden: tuple[int, ...], X: torch.Tensor, y: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    sizes = (64, *hidden, 10)
    layers: list[nn.Module] = []
    for k in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[k], sizes[k + 1]), nn.Tanh()]
    net = nn.Sequential(*layers[:-1]).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(30):
        for rows in torch.randperm(len(X)).split(64):
            optimizer.zero_grad()
            cross_entropy(net(X[rows]), y[rows]).mean().backward()
            optimizer.step()
    return net


def curvlinops_operator(net: nn.Module, X: torch.Tensor, y: torch.Tensor) -> LinearOperator:
    from curvlinops import HessianLinearOperator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its torch.jit
        operator = HessianLinearOperator(
            net, nn.CrossEntropyLoss(), list(net.parameters()), [(X, y)], check_deterministic=False
        )
        return operator.to_scipy()


class Counted(LinearOperator):
    """An operator that counts its products."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(np.dtype(np.float64), operator.shape)
        self.operator, self.n_products = operator, 0

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        self.n_products += 1
        return self.operator.matvec(x)


def by_eigsh(operator: LinearOperator) -> tuple[np.ndarray, int]:
    counted = Counted(operator)
    start = np.random.default_rng(0).standard_normal(operator.shape[0])
    return np.sort(eigsh(counted, k=2, which="BE", tol=TOL, v0=start)[0]), counted.n_products


def by_us(net: nn.Module, X: torch.Tensor, y: torch.Tensor, tol: float = TOL) -> tuple:
    found = hessian_extremes(net, cross_entropy, X, y, tol=tol, max_products=400, random_state=0)
    return np.array([found.eigenvalue_min, found.eigenvalue_max]), found.n_products, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the two smallest nets only")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X, y = torch.as_tensor(X / 16), torch.as_tensor(y)
    has_curvlinops = importlib.util.find_spec("curvlinops") is not None
    if not has_curvlinops:
        print("curvlinops is not installed: pip install curvlinops-for-pytorch")
    print(f"{'parameters':>10} {'hand':>10} {'products':>8} {'seconds':>8} {'ratio':>6} errors")
    for hidden in list(HIDDEN.values())[: 2 if options.quick else None]:
        net = trained(hidden, X, y)
        p = sum(q.numel() for q in net.parameters())
        if p <= DENSE:
            H = hessian_operator(net, cross_entropy, X, y) @ np.eye(p)
            truth = np.linalg.eigvalsh(H)[[0, -1]]
        else:
            truth = by_us(net, X, y, tol=1e-8)[0]
        hands = {
            "ours": lambda net=net: by_us(net, X, y)[:2],
            "eigsh": lambda net=net: by_eigsh(hessian_operator(net, cross_entropy, X, y)),
        }
        if has_curvlinops:
            hands["curvlinops"] = lambda net=net: by_eigsh(curvlinops_operator(net, X, y))
        first = None
        for name, hand in hands.items():
            seconds = np.inf
            for _ in range(options.repeats):
                start = time.perf_counter()
                values, products = hand()
                seconds = min(seconds, time.perf_counter() - start)
            first = first or seconds
            error = np.abs(values / truth - 1)
            print(
                f"{p:10,} {name:>10} {products:8d} {seconds:8.3f} {seconds / first:6.2f} "
                f"{error[0]:.1e} {error[1]:.1e}"
            )
        found = by_us(net, X, y)[2]
        print(
            f"{'':10} eigenvalues {found.eigenvalue_min:.4g} ± {found.residual_min:.1g}, "
            f"{found.eigenvalue_max:.4g} ± {found.residual_max:.1g}; converged {found.converged}; "
            f"Lanczos vectors {found.n_products * p * 8 / 2**20:.1f} MiB"
        )


if __name__ == "__main__":
    main()
