"""The report says what was measured, stands alone, and is readable in a browser by everyone."""

import shutil
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_dl import DLClassifier, diagnose
from sklearn_dl.report import to_fragment
from sklearn_dl.report.content import CAUSES, _columns, _ledger_grid, content
from sklearn_dl.report.documented import explanations, introduction
from sklearn_dl.report.pictures import MAX_POINTS, curves, waterfall

SCRIPT = "<script>alert(1)</script>"
IMAGE = '<img src=x onerror="alert(2)">'
LEARNING = pd.DataFrame(
    {
        "rows": [50, 100, 200, 400],
        "training": [0.2, 0.15, 0.12, 0.1],
        "out_of_fold": [1.2, 0.9, 0.7, 0.6],
        "stderr": [0.1, 0.08, 0.05, 0.04],
    }
)


@pytest.fixture(scope="module")
def diagnosis():
    """Ten classes, and names of columns and classes that would like to be code."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    X = X.rename(columns={X.columns[0]: SCRIPT, X.columns[1]: IMAGE}).iloc[:500]
    names = np.array([SCRIPT, IMAGE, *(f"digit {k} & co" for k in range(2, 10))])
    model = DLClassifier(hidden_layer_sizes=(16,), max_epochs=8, learning_rate=1e-3, random_state=0)
    test = (X[400:], names[y[400:500]])
    return diagnose(
        model, X[:400], names[y[:400]], X_test=test[0], y_test=test[1], cv=3, budget="quick",
        scoring="accuracy", random_state=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(diagnosis):
    return diagnosis.to_html(learning_curve=LEARNING)


class Reader(HTMLParser):
    """Tags with their attributes and text; notes what is not closed."""

    EMPTY = frozenset({"meta", "br", "line", "rect", "path"})

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text, self.wrong = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


# what it says


def test_the_page_is_whole_small_and_well_formed(page):
    assert len(page.encode()) < 1e6
    reader = Reader(page)
    assert (reader.wrong, reader.open) == ([], [])
    ids = reader.attributes("id")
    assert len(ids) == len(set(ids))
    wanted = {word for names in reader.attributes("aria-labelledby") for word in names.split()}
    wanted |= {link[1:] for link in reader.attributes("href")}
    assert wanted <= set(ids)


def test_nothing_comes_from_elsewhere_and_nothing_runs(page):
    assert all(link.startswith("#") for link in Reader(page).attributes("href"))
    names = {name for _, attrs in Reader(page).tags for name in attrs}
    assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name in names)
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(
        tag for tag, _ in Reader(page).tags
    )
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize("hostile", [SCRIPT, IMAGE])
def test_names_of_columns_and_classes_are_text(page, hostile):
    assert hostile not in page
    text = "".join(Reader(page).text)
    assert text.count(hostile) >= 2  # a column and a class


def test_every_number_of_the_ledger_and_every_check_is_on_the_page(diagnosis, page):
    text = " ".join("".join(Reader(page).text).split())
    for step in diagnosis.to_dict()["flow"]:
        assert step["question"] in text
        assert step["answer"] in text
    for value in diagnosis.ledger["loss"].dropna():
        assert f"{value:.3g}" in text
    for code, question in zip(
        diagnosis.evidence["code"], diagnosis.evidence["question"], strict=True
    ):
        assert code in text
        assert question in text
    assert repr(clone(diagnosis._study.estimator)) in text


def test_every_check_that_applies_is_explained(diagnosis, page):
    text = " ".join("".join(Reader(page).text).split())
    applied = diagnosis.evidence.loc[diagnosis.evidence["outcome"] != "not applicable", "code"]
    assert len(applied) > 5
    for code in applied:
        assert len(explanations()[code]) > 20
        assert explanations()[code] in text
    assert "A training loss, B out-of-fold loss" in introduction()
    assert explanations()["DL107"] == explanations()["DL108"]
    assert not any("#" in explanation for explanation in explanations().values())


def test_the_code_of_a_remedy_can_be_pasted(diagnosis):
    shown = content(diagnosis)
    ran = 0
    for remedy, text in zip(diagnosis.remedies, shown.remedies, strict=True):
        estimator = clone(diagnosis._study.estimator)
        if remedy.params:
            exec(text.code, {"estimator": estimator})
            assert {k: estimator.get_params()[k] for k in remedy.params} == remedy.params
            ran += 1
    assert ran
    assert shown.remedies[0].action in diagnosis.to_html()
    code = shown.grid_code.rpartition("with batched_fits()")[0]
    names = {}
    exec(code, names)
    assert names["grid"] == diagnosis.param_grid


def test_without_a_learning_curve_the_page_says_how_to_get_it(diagnosis):
    shown = content(diagnosis)
    assert shown.learning is None
    assert "loss_by_size(d)" in diagnosis.to_html()


def test_the_waterfall_adds_up():
    ledger = pd.DataFrame(
        {
            "loss": [0.4, 0.1, 0.5, -0.1, np.nan],
            "ci_low": [0.3, 0.05, 0.4, -0.2, np.nan],
            "ci_high": [0.5, 0.15, 0.6, 0.0, np.nan],
        },
        index=list(CAUSES),
    )
    picture = waterfall(ledger, CAUSES, ("the model", 0.9))
    most = 1.1  # the upper end of the third interval
    steps = [0.4, 0.5, 1.0, 0.9]
    assert [bar.end for bar in picture.bars[:4]] == pytest.approx(
        [100 * s / most for s in steps], abs=0.01
    )
    for before, bar in pairwise(picture.bars[:4]):
        assert before.end in (bar.left, pytest.approx(bar.left + bar.width, abs=0.01))
    assert picture.bars[3].text == "-0.1 (-0.2 to 0)"
    assert picture.bars[4].left is None
    assert picture.bars[4].text == "not applicable"
    assert picture.bars[5].width == pytest.approx(picture.bars[3].end, abs=0.01)
    assert picture.zero == 0


def test_a_loss_without_an_error_has_no_interval():
    unknown = [0.1, 0.05, np.nan, 0.1, np.nan]
    columns = {"loss": [0.4, 0.1, 0.0, 0.2, np.nan], "ci_low": unknown, "ci_high": unknown}
    ledger = pd.DataFrame(columns, index=list(CAUSES))
    bar = waterfall(ledger, CAUSES, ("the model", 0.7)).bars[2]
    assert (bar.text, bar.low, bar.high) == ("+0", None, None)
    grid = _ledger_grid(ledger.assign(stderr=0.1, share=0.2))
    assert grid.rows[2][3] == "–"


@pytest.mark.parametrize("kind", ["polars", "sparse", "objects"])
def test_missing_values_are_counted_in_every_kind_of_table(kind):
    values = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, np.nan]])
    X = {
        "polars": lambda: pl.DataFrame({"a": [1.0, 2.0, 4.0], "b": [None, 3.0, None]}),
        "sparse": lambda: sparse.csr_array(values),
        "objects": lambda: np.where(np.isnan(values), None, values.astype(object)),
    }[kind]()
    grid, left = _columns(X)
    assert [row[2] for row in grid.rows] == ["0", "2"]
    assert [row[0] for row in grid.rows] == (["a", "b"] if kind == "polars" else ["x0", "x1"])
    assert left == 0


def test_a_waterfall_below_zero_keeps_its_zero_inside():
    ledger = pd.DataFrame(
        {
            "loss": [0.1, 0.0, 0.0, -0.3, 0.0],
            "ci_low": [0.0, 0.0, 0.0, -0.4, 0.0],
            "ci_high": [0.2, 0.0, 0.0, -0.2, 0.0],
        },
        index=list(CAUSES),
    )
    picture = waterfall(ledger, CAUSES, ("the model", -0.2))
    assert 0 < picture.zero < 100
    edges = [e for b in picture.bars for e in (b.left, b.left + b.width)]
    assert min(edges) >= 0
    assert max(edges) <= 100


def test_long_curves_are_thinned_and_wide_ones_logarithmic():
    x = np.arange(5000.0)
    picture = curves([("long", x, np.exp(-x / 500)), ("gap", x, np.where(x < 9, 1, np.nan))])
    assert picture.log
    assert [line.path.count("L") < MAX_POINTS for line in picture.lines] == [True, True]
    assert picture.lines[0].path.startswith("M0 0L")  # high on the left
    assert picture.lines[0].path.endswith("L100 100")  # low on the right
    assert not curves([("flat", x, 1 + x)], from_zero=True).log or x[-1] > 20
    assert curves([("short", x[:1], x[:1])]) is None


def test_a_notebook_shows_a_fragment_with_ids_of_its_own(diagnosis):
    first, second = diagnosis._repr_html_(), to_fragment(diagnosis)
    for fragment in (first, second):
        reader = Reader(fragment)
        assert (reader.wrong, reader.open) == ([], [])
        assert SCRIPT not in fragment
        assert "<body" not in fragment
    assert set(Reader(first).attributes("id")).isdisjoint(Reader(second).attributes("id"))
    rules = first.partition("<style>")[2].partition("</style>")[0]
    selectors = [line for line in rules.splitlines() if line.endswith("{") and line[0] != "@"]
    assert len(selectors) > 5
    assert all(".sklearn-dl" in selector for selector in selectors)


# in a browser

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium drives the browser")
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def show(browser, address):
    """Open the report at a width, in light or dark, on screen or paper, its parts unfolded."""

    def opened(width=1280, *, dark=False, media="screen", where=address):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": [scheme]}
        )
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        browser.get(where)
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        return browser

    return opened


WIDTHS = pytest.mark.parametrize("width", [320, 390, 1280])
DARK = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@WIDTHS
def test_no_width_scrolls_sideways_or_cuts_text(show, width):
    window = show(width)
    outside = window.execute_script("""
        const right = document.documentElement.clientWidth;
        return [...document.body.querySelectorAll('*')].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width > 1 && (box.right > right + 0.5 || box.left < -0.5)
                && !e.matches('.skip');
        }).map(e => [e.tagName, e.className.baseVal ?? e.className, e.textContent.slice(0, 60)]);
    """)
    assert outside == []
    assert window.execute_script("return document.documentElement.scrollWidth") <= width
    assert window.get_log("browser") == []


CONTRAST = """
    const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const parse = c => (c.match(/[0-9.]+/g) || []).map(Number);
    const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
    const ratio = (a, b) => {
        const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
        return (x + 0.05) / (y + 0.05);
    };
    const paper = e => {
        for (; e; e = e.parentElement) {
            const c = parse(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] === 1) return c;
        }
        return [255, 255, 255];
    };
    const texts = [], marks = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; node = walker.nextNode();) {
        const e = node.parentElement, style = getComputedStyle(e);
        if (!node.data.trim() || e.matches('style, title, desc')) continue;
        const color = parse(e instanceof SVGElement ? style.fill : style.color);
        const size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
        const large = size >= 24 || (bold && size >= 18.66);
        texts.push([ratio(color, paper(e)), large ? 3 : 4.5, node.data.trim().slice(0, 40)]);
    }
    for (const e of document.querySelectorAll('rect, .line, .span, .axis')) {
        if (e.matches('.band')) continue;  // the line within it says the same
        const style = getComputedStyle(e);
        marks.push([ratio(parse(e.matches('rect') ? style.fill : style.stroke), paper(e)), 3,
                    e.getAttribute('class')]);
    }
    return [texts, marks];
"""


@DARK
@WIDTHS
def test_contrast_reaches_wcag_aa(show, width, dark):
    window = show(width, dark=dark)
    texts, marks = window.execute_script(CONTRAST)
    assert len(texts) > 150
    assert len(marks) > 10
    assert [found for found in (*texts, *marks) if found[0] < found[1]] == []
    paper = window.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark


@WIDTHS
def test_a_screen_reader_hears_landmarks_tables_and_pictures(show, width):
    window = show(width)
    window.execute_cdp_cmd("Accessibility.enable", {})
    tree = window.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    heard = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"]
    ]
    roles = [role for role, _ in heard]
    for landmark in ("main", "banner", "contentinfo", "navigation"):
        assert roles.count(landmark) == 1, landmark
    names = {name for role, name in heard if role == "table"}
    assert len(names) == roles.count("table") >= 7
    assert all(names)
    for role in ("columnheader", "rowheader", "cell", "row"):
        assert role in roles, role
    pictures = [name for role, name in heard if role in ("image", "img")]
    assert len(pictures) == 3
    assert all(len(name) > 40 for name in pictures)
    levels = [int(e.tag_name[1]) for e in window.find_elements("css selector", "h1, h2, h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert window.execute_script("return document.documentElement.lang") == "en"


def test_the_keyboard_reaches_everything_and_shows_where_it_is(show):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    window = show()
    stops = len(window.find_elements("css selector", "a[href], summary"))
    seen = []
    for _ in range(stops):
        ActionChains(window).send_keys(Keys.TAB).perform()
        here = window.switch_to.active_element
        seen.append((here.tag_name, here.text))
        assert here.is_displayed()
        style = window.execute_script(
            "const s = getComputedStyle(arguments[0]); return [s.outlineStyle, s.outlineWidth]",
            here,
        )
        assert style[0] != "none"
        assert style[1] != "0px"
    assert seen[0] == ("a", "To the verdict")
    assert [tag for tag, _ in seen].count("summary") == 2
    folded = window.find_element("css selector", "summary")
    before = folded.find_element("xpath", "..").get_attribute("open")
    folded.send_keys(Keys.ENTER)
    assert folded.find_element("xpath", "..").get_attribute("open") != before


def test_a_link_of_the_evidence_leads_to_its_check(show):
    window = show()
    link = window.find_element("css selector", "#evidence table a")
    code = link.text
    window.execute_script("arguments[0].click()", link)
    assert window.current_url.endswith(f"#check-{code}")
    target = window.find_element("css selector", ":target")
    assert target.text.startswith(f"{code}: ")
    top = window.execute_script("return arguments[0].getBoundingClientRect().top", target)
    assert 0 <= top < 900


def test_hostile_names_are_shown_as_text_and_run_nothing(show):
    window = show()
    assert window.execute_script("return document.querySelectorAll('script, img').length") == 0
    shown = window.find_element("tag name", "body").text
    assert SCRIPT in shown
    assert IMAGE in shown
    assert window.get_log("browser") == []


def test_paper_is_black_on_white_and_unfolded(show, browser):
    window = show(dark=True, media="print")
    colors = window.execute_script(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    assert colors == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    texts, _ = window.execute_script(CONTRAST)
    assert [found for found in texts if found[0] < found[1]] == []
    assert not window.find_element("tag name", "nav").is_displayed()
    paper = window.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"]
    assert len(paper) > 20_000


def test_the_fragment_reads_in_a_notebook_too(show, diagnosis, tmp_path):
    path = tmp_path / "notebook.html"
    path.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><title>n</title>{diagnosis._repr_html_()}",
        encoding="utf-8",
    )
    for dark in (False, True):
        window = show(700, dark=dark, where=path.as_uri())
        texts, marks = window.execute_script(CONTRAST)
        assert len(texts) > 20
        assert [found for found in (*texts, *marks) if found[0] < found[1]] == []
        assert window.get_log("browser") == []
