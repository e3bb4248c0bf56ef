"""Does everything that is shown as an example run?"""

import doctest
import re
import runpy
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import matplotlib.pyplot as plt
import numpy as np
import pytest

import sklearn_dl

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    module.name
    for module in walk_packages(sklearn_dl.__path__, "sklearn_dl.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_give_what_they_show(name):
    result = doctest.testmod(import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.slow
def test_the_python_of_the_readme_runs_without_a_warning():
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.M | re.S)
    assert blocks  # those of README.zh-CN.md are the same: tests/test_docs.py
    exec("\n".join(blocks), {"__name__": "readme"})


PAGES = sorted((ROOT / "docs").glob("*.md"))
#: What no test can run as it stands, and why. Python among it is compiled.
NOT_RUN = {
    ("search.md", "python"): "a hundred trials of Optuna; tests/test_search.py has fewer",
    ("how_to_scale_out.md", "python"): "a cluster, GPUs; tests/test_batching_executor.py has more",
    ("how_to_scale_out.md", "bash"): "starts workers on other machines",
    ("how_to_onnx.md", "bash"): "installs",
    ("user_guide.md", "bash"): "installs, as README's command does, which .ci/run runs",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [p for p in PAGES if "```{doctest}" in p.read_text("utf-8")], ids=lambda p: p.stem
)
def test_the_examples_of_a_page_give_what_they_show(path):
    blocks = re.findall(r"^```\{doctest\}\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
    test = doctest.DocTestParser().get_doctest(
        "\n".join(blocks), {"np": np}, path.name, str(path), 0
    )
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL  # as Sphinx has them
    assert doctest.DocTestRunner(optionflags=flags).run(test).failed == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_every_code_block_of_a_page_is_run_or_says_why_not(path):
    for kind, code in re.findall(r"^```(\S+)\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S):
        if kind not in ("{doctest}", "{toctree}", "{eval-rst}", "text"):
            assert (path.name, kind) in NOT_RUN
        if kind == "python":
            compile(code, path.name, "exec")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")  # plt.show() without one
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_the_example_scripts_run_without_a_warning(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:  # in this process: starting another takes as long as many a script
        runpy.run_path(str(path), run_name="__main__")
    finally:
        plt.close("all")
