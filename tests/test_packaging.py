"""Is everything in the wheel and the sdist, and does their metadata say what it should?"""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import sklearn_dl

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    if not (ROOT / "pyproject.toml").exists() or not (ROOT / "sklearn_dl").exists():
        pytest.skip("needs the sources")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return folder


def _sources():
    files = (ROOT / "sklearn_dl").rglob("*")
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }


def _metadata(wheel):
    (name,) = (n for n in wheel.namelist() if n.endswith("METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_the_package_whole_and_nothing_else(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        files = {name for name in wheel.namelist() if ".dist-info/" not in name}
        about = _metadata(wheel)
        (entries,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
        assert "sklearn-dl = sklearn_dl.cli:main" in wheel.read(entries).decode()
        # a link in the sources
        assert wheel.read("sklearn_dl/report/checks.md").startswith(b"# The checks")
    assert files == _sources()
    assert {"sklearn_dl/py.typed", "sklearn_dl/report/templates/style.css"} <= files
    assert path.stat().st_size < 2e6
    assert about["Version"] == sklearn_dl.__version__
    assert about["License-Expression"] == "BSD-3-Clause"
    wanted = {r.split(";")[0].split(">")[0] for r in about.get_all("Requires-Dist")}
    assert {"torch", "scikit-learn", "skorch", "safetensors", "jinja2", "numpy"} <= wanted
    extras = set(about.get_all("Provides-Extra"))
    assert {"plot", "cli", "onnx", "distributed", "search", "image", "test", "docs"} <= extras


def test_the_sdist_holds_what_the_tests_need(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert _sources() <= files
    for needed in ("tests/conftest.py", "README.md", "CHANGELOG.md", "LICENSE", "constraints.txt"):
        assert needed in files


def test_the_constraints_pin_every_requirement_once():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    names = [_plain(name) for name, _, _ in pins]
    assert all(equal and version for _, equal, version in pins)
    assert len(names) == len(set(names))
    extras = project["optional-dependencies"]
    covered = ("plot", "cli", "onnx", "distributed", "test", "docs", "dev")
    wanted = [*project["dependencies"], *(r for extra in covered for r in extras[extra])]
    assert {_plain(requirement.split(">")[0]) for requirement in wanted} <= set(names)


def test_the_oldest_tested_versions_are_the_lower_bounds():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    bounds = [r.partition(">=") for r in (*project["dependencies"], *extras["test"])]
    lines = (ROOT / "tests/oldest.txt").read_text("utf-8").splitlines()
    pins = [line.partition("==") for line in lines if not line.startswith("#")]
    oldest = {_plain(name): _version(version) for name, _, version in pins}
    assert oldest == {_plain(name): _version(version) for name, _, version in bounds}


def test_the_classifiers_name_the_python_versions_that_the_policy_supports():
    with (ROOT / "pyproject.toml").open("rb") as file:
        classifiers = tomllib.load(file)["project"]["classifiers"]
    named = re.findall(
        r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(classifiers), re.M
    )
    policy = (ROOT / "docs/policy.md").read_text("utf-8")
    first, last = re.search(r"today 3\.(\d+) to 3\.(\d+)", policy).groups()
    assert named == [f"3.{minor}" for minor in range(int(first), int(last) + 1)]


def test_the_changelog_opens_with_what_is_to_come_and_the_version_released():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    to_come, *released = re.findall(r"^## .*$", text, re.M)
    assert to_come == "## [Unreleased]"
    days = r"## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d"
    versions = [re.fullmatch(days, heading)[1] for heading in released]
    now, dev, _ = sklearn_dl.__version__.partition(".dev")
    assert (_version(now) > _version(versions[0])) if dev else now == versions[0]


def _version(text):
    """Three numbers; 2.0 is 2.0.0."""
    numbers = [int(part) for part in text.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


def _plain(name):
    return name.strip().lower().replace("_", "-").replace(".", "-")
