"""Do imports run one way, from the leaves to the edge, and does the edge alone draw?"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import sklearn_dl

PACKAGE = "sklearn_dl"
ROOT = Path(__file__).resolve().parents[1]

# A part (module or folder of the package) may import parts of lower layers. A new part fails the
# test until it has its place here.
LAYERS = (
    {"losses", "optimizers", "schedules", "augmentation", "nn", "tabular", "datasets"}
    | {"groups", "parameter_docs", "priors", "recipes", "targets"},
    {"training"},
    {"fitting"},
    {"estimators"},
    {"batching", "onnx", "storage"},
    {"checkpointing"},
    {"curvature", "resilience"},
    {"studies"},
    {"diagnosis"},
    {"plotting", "report", "search"},
    {"cli"},
    {"__init__", "__main__"},
)
# Parts of one layer do not import one another, except these (importer, imported).
SAME_LAYER: set[tuple[str, str]] = set()
# Against the direction, inside these functions only: the methods of Diagnosis that open the edge.
# What they return may be named in their annotations.
EDGE_DOORS = {
    ("diagnosis", "plotting"): {"plot"},
    ("diagnosis", "report"): {"to_html", "_repr_html_", "__str__"},
}
DRAWS = {"plotting", "report", "cli"}
# The package itself gives its own modules only these: everyday names would hide a direction.
OWN_NAMES = {"__version__"}


@dataclass(frozen=True)
class Import:
    """One import statement's target, and where it stands."""

    target: str  # absolute dotted name, the imported attribute included
    line: int
    functions: tuple[str, ...]  # enclosing functions and classes, outermost first
    typing_only: bool

    @property
    def at_module_level(self) -> bool:
        return not self.functions and not self.typing_only


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in {getattr(test, "id", None), getattr(test, "attr", None)}


def imports_of(source: str, module: str, *, is_package: bool = False) -> list[Import]:
    """Every import in ``source``; relative ones are resolved against ``module``."""
    parents = module.split(".") if is_package else module.split(".")[:-1]

    def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = parents[: len(parents) - node.level + 1] if node.level else []
        stem = ".".join([*base, *([node.module] if node.module else [])])
        yield from (f"{stem}.{alias.name}" for alias in node.names)

    def walk(
        nodes: Iterable[ast.AST], functions: tuple[str, ...], typing_only: bool
    ) -> Iterator[Import]:
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for target in targets(node):
                    yield Import(target, node.lineno, functions, typing_only)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(node.body, (*functions, node.name), typing_only)
            elif isinstance(node, ast.If) and _is_type_checking(node.test):
                yield from walk(node.body, functions, True)
                yield from walk(node.orelse, functions, typing_only)
            else:  # a class body runs at import time, as do if, try and with
                yield from walk(ast.iter_child_nodes(node), functions, typing_only)

    return list(walk(ast.parse(source).body, (), False))


def read_package(folder: Path) -> dict[str, list[Import]]:
    """Dotted module name -> its imports; a package goes by its own name."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = imports_of(path.read_text("utf-8"), name, is_package=is_package)
    return modules


def part_of(name: str) -> str:
    """``sklearn_dl.nn.mlp`` -> ``nn``; ``sklearn_dl`` -> ``__init__``."""
    return name.split(".")[1] if "." in name else "__init__"


def layer_of(part: str) -> int | None:
    return next((i for i, layer in enumerate(LAYERS) if part in layer), None)


def _may_import(importer: str, imported: str, item: Import) -> bool:
    if importer == imported or (importer, imported) in SAME_LAYER:
        return True
    here, there = layer_of(importer), layer_of(imported)
    if here is None or there is None:
        return False
    doors = EDGE_DOORS.get((importer, imported), set())
    return there < here or (bool(doors) and (item.typing_only or bool(doors & set(item.functions))))


def layer_violations(modules: Mapping[str, list[Import]]) -> list[str]:
    """Modules without a layer, and imports that run against the direction."""
    found = [
        f"{name}: {part_of(name)!r} has no layer; give it one in LAYERS"
        for name in modules
        if layer_of(part_of(name)) is None
    ]
    for name, imports in modules.items():
        for item in imports:
            if item.target.split(".")[0] != PACKAGE:
                continue
            imported = part_of(item.target)
            if imported in OWN_NAMES:
                continue
            if not _may_import(part_of(name), imported, item):
                found.append(f"{name}, line {item.line}: {part_of(name)} imports {item.target}")
    return found


def drawing_violations(modules: Mapping[str, list[Import]]) -> list[str]:
    """Imports of matplotlib at module level outside the edge."""
    return [
        f"{name}, line {item.line}: imports {item.target} at module level"
        for name, imports in modules.items()
        for item in imports
        if part_of(name) not in DRAWS
        and item.at_module_level
        and item.target.split(".")[0] in {"matplotlib", "mpl_toolkits"}
    ]


def reaches(
    modules: Mapping[str, list[Import]], start: str, library: str
) -> tuple[str, ...] | None:
    """Chain of imports from ``start``, through this package's modules, to ``library``.

    Counts imports inside functions too. The parent packages that Python runs on the way are not
    followed: ``diagnosis/__init__`` offers ``diagnose``, which trains; ``rules`` must not need it.
    """
    waiting, seen = [(start,)], {start}
    while waiting:
        chain = waiting.pop()
        for item in modules[chain[-1]]:
            if item.typing_only:
                continue
            if item.target.split(".")[0] == library:
                return (*chain, item.target)
            # "a.b.C" is the module a.b.C, or a name in a.b
            inner = next(
                (n for n in (item.target, item.target.rpartition(".")[0]) if n in modules), None
            )
            if inner is not None and inner not in seen:
                seen.add(inner)
                waiting.append((*chain, inner))
    return None


@pytest.fixture(scope="module")
def modules() -> dict[str, list[Import]]:
    # where it is installed: the checkout, or the wheel that is tested
    return read_package(Path(sklearn_dl.__file__).parent)


def test_every_module_has_a_layer_and_imports_run_one_way(modules):
    assert layer_violations(modules) == []


def test_only_the_edge_imports_matplotlib_at_module_level(modules):
    assert drawing_violations(modules) == []


def test_the_decisions_of_diagnosis_reach_no_torch(modules):
    rules = [name for name in modules if name.startswith(f"{PACKAGE}.diagnosis.rules")]
    assert rules, "sklearn_dl.diagnosis.rules is gone: say here where the decisions live"
    assert {name: reaches(modules, name, "torch") for name in rules} == dict.fromkeys(rules)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sklearn_dl.losses", "from sklearn_dl.estimators import DLClassifier"),
        ("sklearn_dl.losses", "from .estimators import DLClassifier"),
        ("sklearn_dl.losses", "def f():\n    import sklearn_dl.training"),
        ("sklearn_dl.losses", "from sklearn_dl import DLClassifier"),
        ("sklearn_dl.losses", "import sklearn_dl"),
        ("sklearn_dl.losses", "from sklearn_dl import schedules"),
        ("sklearn_dl.training.loop", "from ..batching import batched_fits"),
        ("sklearn_dl.training.loop", "if TYPE_CHECKING:\n    import sklearn_dl.cli"),
        ("sklearn_dl.curvature", "from sklearn_dl import resilience"),
        ("sklearn_dl.diagnosis.result", "from sklearn_dl import report"),
        ("sklearn_dl.diagnosis.result", "def plot():\n    from sklearn_dl import report"),
        ("sklearn_dl.helpers", "import numpy"),
    ],
)
def test_a_planted_import_against_the_direction_is_caught(module, source):
    assert len(layer_violations({module: imports_of(source, module)})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sklearn_dl.training.loop", "from ..losses import LOSSES\nfrom . import history"),
        ("sklearn_dl.report", "from sklearn_dl import __version__, diagnosis"),
        ("sklearn_dl.diagnosis.result", "class D:\n  def plot(s):\n    from .. import plotting"),
    ],
)
def test_a_planted_import_along_the_direction_passes(module, source):
    assert layer_violations({module: imports_of(source, module)}) == []


def test_a_planted_matplotlib_import_is_caught_outside_the_edge_only():
    source = "try:\n    from matplotlib import pyplot\nfinally:\n    pass"
    found = {
        name: len(drawing_violations({name: imports_of(source, name)}))
        for name in ("sklearn_dl.estimators", "sklearn_dl.plotting")
    }
    assert found == {"sklearn_dl.estimators": 1, "sklearn_dl.plotting": 0}
    inside = "def plot():\n    import matplotlib.pyplot as plt"
    assert not drawing_violations({"sklearn_dl.tabular": imports_of(inside, "sklearn_dl.tabular")})


def test_a_planted_road_from_the_rules_to_torch_is_found():
    sources = {
        "sklearn_dl.diagnosis.rules": "from sklearn_dl.diagnosis.ledger import Ledger",
        "sklearn_dl.diagnosis.ledger": "def f():\n    from torch import nn",
    }
    planted = {name: imports_of(source, name) for name, source in sources.items()}
    assert reaches(planted, "sklearn_dl.diagnosis.rules", "torch") == (*sources, "torch.nn")


def test_importing_the_package_and_its_everyday_names_loads_nothing_slow():
    slow = {"matplotlib", "sklearn.ensemble", "sklearn.calibration"}
    code = (
        "import sys, sklearn_dl; [getattr(sklearn_dl, name) for name in sklearn_dl.__all__];"
        f"print([m for m in sys.modules if m in {slow}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_says_which_names_it_lacks():
    import sklearn_dl

    assert set(sklearn_dl.__all__) <= set(dir(sklearn_dl))
    with pytest.raises(AttributeError, match="no attribute 'DLClasifier'"):
        sklearn_dl.DLClasifier  # noqa: B018


def test_the_readme_opens_with_two_commands_of_one_line_each():
    blocks = re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
    )
    assert [block.count("\n") for block in blocks[:2]] == [1, 1]
    assert blocks[0].endswith("sklearn-dl diagnose\n")
    assert blocks[1].endswith("pytest\n")
