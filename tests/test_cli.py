"""The command line: a verdict on stdout, or one line on stderr and status 2."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from sklearn_dl import cli
from sklearn_dl.cli import reading, times
from sklearn_dl.datasets import make_noisy_classes, make_noisy_numbers
from sklearn_dl.diagnosis import Verdict

QUICK = ("--cv", "2", "--budget", "quick")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tables a user might have, in the working directory."""
    monkeypatch.chdir(tmp_path)
    classes = make_noisy_classes(80, 3, random_state=0)
    frame = pd.DataFrame(classes.X, columns=["a", "b", "c [unit]"])
    frame["kind"] = np.where(classes.y, "yes", "no")
    frame.to_csv("classes.csv", index=False)
    frame.to_csv("classes.csv.gz", index=False)
    frame.rename(columns={"kind": "target"}).to_parquet("classes.parquet")
    frame.iloc[:20].to_csv("later.csv", index=False)
    frame.drop(columns="b").to_csv("narrow.csv", index=False)
    frame[["kind"]].to_csv("lonely.csv", index=False)
    frame.assign(kind=[None] * 7 + ["x"] * 73).to_csv("holes.csv", index=False)
    frame.assign(target=np.nan).to_csv("blank.csv", index=False)
    numbers = make_noisy_numbers(80, 3, random_state=0)
    pd.DataFrame(numbers.X).assign(target=numbers.y).to_csv("numbers.csv", index=False)
    nested = frame.rename(columns={"kind": "target"})
    nested.assign(tags=[["x", "y"]] * 80, place=[{"lat": 1.0}] * 80).to_parquet("nested.parquet")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,target\n")
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    (tmp_path / "broken.csv.gz").write_bytes(b"not gzip")
    (tmp_path / "notes.txt").write_text("a,target\n1,2\n")
    return tmp_path


def run(capsys, *words):
    status = cli.main(["diagnose", *words])
    out, err = capsys.readouterr()
    return status, out, err


BAD = {
    "no such file": (["gone.csv"], "no such file: gone.csv"),
    "directory": (["."], "is a directory"),
    "empty": (["empty.csv"], "empty.csv is empty"),
    "no rows": (["header.csv"], "header.csv has no rows"),
    "not parquet": (["broken.parquet"], "broken.parquet cannot be read"),
    "nested": (
        ["nested.parquet"], "nested.parquet has columns of lists or records: 'tags', 'place'; drop",
    ),
    "not gzip": (["broken.csv.gz"], "broken.csv.gz cannot be read"),
    "unknown kind": (["notes.txt"], "neither .csv, .tsv, .csv.gz nor .parquet; save it"),
    "no target": (["classes.csv"], "--target COLUMN; classes.csv has: a, b, c [unit], kind"),
    "unknown target": (["classes.csv", "--target", "z"], "no column 'z'; classes.csv has: a, b"),
    "target alone": (["lonely.csv", "--target", "kind"], "no column beside the target"),
    "no such test": (["classes.parquet", "--test", "gone.csv"], "no such file: gone.csv"),
    "test lacks": (
        ["classes.csv", "--target", "kind", "--test", "narrow.csv"],
        "narrow.csv lacks columns of the training table: b",
    ),
    "no target known": (["blank.csv"], "column 'target' of blank.csv is empty"),
    "no such time": (["numbers.csv", "--time", "z"], "--time 'z' is no column of numbers.csv"),
    "time of the target": (["numbers.csv", "--time", "target"], "--time 'target' is the target"),
    "no times": (["classes.parquet", "--time", "word"], "is no column of"),
    "too many folds": (["classes.parquet", "--cv", "60"], "60 folds need at least 120 rows"),
    "text as number": (["classes.parquet", "--task", "regression"], "holds 2 labels such as"),
    "number as class": (["numbers.csv", "--task", "classification"], "has 80 different numbers"),
    "nearly a column": (["classes.csv", "--target", "kinds"], "(did you mean 'kind'?)"),
    "bad option": (["classes.parquet", "--cv", "many"], "invalid int value"),
    "page": (["classes.parquet", "--html", "gone/page.html"], "cannot be written"),
    "page is a folder": (["classes.parquet", "--html", "."], ". cannot be written"),
    "target of nothing": (["--target", "x"], "need a table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_on_stderr_and_status_2(name, folder, capsys):
    words, message = BAD[name]
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize("words", [[], ["unknown"], ["diagnose", "--unknown"]])
def test_a_wrong_command_is_one_line_too(words, capsys):
    assert cli.main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["classes.csv", "--target", "kind"], "classification: 'kind' holds 2 labels"),
        (["classes.csv.gz", "--target", "kind"], "classification: 'kind' holds 2 labels"),
        (["classes.parquet"], "classification: 'target' holds 2 labels"),
        (["numbers.csv"], "regression: 'target' has 80 different numbers"),
    ],
)
def test_a_table_gets_a_verdict_and_is_told_how_it_was_read(words, rule, folder, capsys):
    status, out, err = run(capsys, *words, *QUICK)
    assert (status, err) == (0, "")
    assert f"Task: {rule}" in out
    assert any(f"Verdict: {v.value}" in out for v in Verdict)
    for part in (
        "Losses",
        "Learning curve",
        "Training loss",
        "Ledger",
        "Evidence",
        "What to change",
    ):
        assert part in out


def test_a_test_file_adds_the_test_loss_and_a_page_is_written(folder, capsys):
    words = ["classes.csv", "--target", "kind", "--test", "later.csv", "--html", "page.html"]
    status, out, _ = run(capsys, *words, *QUICK)
    assert status == 0
    assert "20 test rows" in out
    assert "not applicable: no --test" not in out
    page = (folder / "page.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Loss by number of training rows" in page


def test_no_empty_page_is_left_where_the_diagnosis_fails(folder, capsys):
    frame = pd.DataFrame({"a": range(60), "target": ["many"] * 59 + ["one"]})
    frame.to_csv(folder / "rare.csv", index=False)
    status, _, _ = run(capsys, "rare.csv", "--html", "none.html", *QUICK)
    assert status == 2
    assert not (folder / "none.html").exists()


def test_json_is_all_of_stdout_and_a_seed_repeats_it(folder, capsys):
    words = ["classes.parquet", "--json", "--seed", "3", *QUICK]
    (status, first, _), (_, second, _) = run(capsys, *words), run(capsys, *words)
    assert status == 0
    content = json.loads(first)
    assert content["verdict"] in set(Verdict)
    assert len(content["learning_curve"]) == 3  # a training fold of 40 rows has no eighth
    assert first == second


def test_whole_numbers_are_classes_until_they_are_many():
    few, many = pd.Series(np.arange(60) % 20), pd.Series(np.arange(60) % 21)
    assert reading._task(few, "y", None)[0] == "classification"
    assert reading._task(many, "y", None)[0] == "regression"
    assert reading._task(few, "y", "regression") == ("regression", "regression: as asked")
    assert reading._task(pd.Series([True, False]), "y", None)[0] == "classification"
    assert reading._task(pd.Series([0.5, 1.0]), "y", None)[0] == "regression"


def test_without_rich_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    status, out, err = run(capsys)
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        'sklearn-dl: the command line needs rich: pip install "sklearn-dl[cli]"'
    ]


def test_a_warning_is_shown_once_and_in_one_line(capsys):
    show = cli._once()
    for _ in range(3):
        show(UserWarning("many\nclasses"), UserWarning, "file.py", 1)
    assert capsys.readouterr().err == "sklearn-dl: warning: many classes\n"


def test_without_a_table_the_embedded_one_is_diagnosed(capsys):
    status, out, err = run(capsys, *QUICK)
    assert (status, err) == (0, "")
    assert "embedded table (breast cancer): 569 rows, 30 columns" in out
    assert any(f"Verdict: {v.value}" in out for v in Verdict)


def test_a_grouped_table_is_diagnosed_by_whole_groups(folder, capsys):
    frame = pd.read_csv("numbers.csv").assign(family=np.arange(80) // 4)
    frame.to_csv("families.csv", index=False)
    status, out, _ = run(capsys, "families.csv", "--groups", "family", *QUICK)
    assert status == 0
    assert "20 groups by 'family'" in out
    assert "DL501" in out
    status, _, err = run(capsys, "families.csv", "--groups", "nobody", *QUICK)
    assert (status, err.count("\n")) == (2, 1)


# --- a messy table -----------------------------------------------------------------------------


@pytest.fixture
def messy(folder):
    """What people keep in spreadsheets."""
    g = np.random.RandomState(0)
    p = make_noisy_numbers(200, 2, noise=0.3, random_state=0)
    size = np.round(10_000 + 3000 * p.X[:, 0], 1)
    price = 5000 + 1000 * p.y
    rows = pd.DataFrame(
        {
            "Unnamed: 0": np.arange(200),
            "customer_id": g.permutation(200) * 7 + 1000,
            "note": [f"text {g.randint(10**9)}" for _ in range(200)],
            "size": [f"{v:,.1f}" for v in size],
            "width": [f"{v:.2f}".replace(".", ",") for v in p.X[:, 1]],
            "colour": np.where(p.X[:, 0] > 0, "red", "?"),
            "share": [f"{v} %" for v in g.randint(100, size=200)],
            "price": [f"$ {v:,.2f}" for v in price],
            "price_with_tax": np.round(1.19 * price, 2),
        }
    )
    rows.loc[5:9, "size"] = ["?", "-", "n/a", "", "missing"]
    rows.loc[10:16, "price"] = None
    rows = pd.concat([rows, rows.iloc[100:112].assign(customer_id=np.arange(12))])
    rows["Unnamed: 0"] = np.arange(len(rows))
    rows["note"] = [f"text {k} {g.randint(10**9)}" for k in range(len(rows))]
    rows.to_csv("messy.csv.bz2", index=False)
    return folder


def test_a_messy_table_is_read_as_it_was_meant(messy, capsys):
    status, out, err = run(capsys, "messy.csv.bz2", "--target", "price", *QUICK)
    text = " ".join(out.split())
    assert (status, err) == (0, "")
    assert "messy.csv.bz2: 205 rows, 5 columns" in text
    assert "messy.csv.bz2: 7 of 212 rows without a target were dropped" in text
    for column in ("size", "width", "share", "price"):
        assert f"column {column!r}: read as numbers" in text
    for column in ("Unnamed: 0", "customer_id", "note"):
        assert f"column {column!r} dropped" in text
    assert "Task: regression: 'price'" in text
    assert "possible leak: column 'price_with_tax' alone" in text
    assert "rows were judged by models that had learnt an exact copy" in text


def test_numbers_of_people_and_missing_marks_are_read(messy):
    frame = reading._numbers(reading.read_table("messy.csv.bz2"), [])
    assert frame["size"].isna().sum() == 5
    assert frame["size"].median() == pytest.approx(10_000, rel=0.1)
    assert frame["width"].between(-5, 5).all()
    assert frame["colour"].isna().any()
    assert frame["price"].isna().sum() == 7


@pytest.mark.parametrize(
    ("column", "is_id"),
    [
        (pd.Series(range(50), name="row"), True),
        (pd.Series(np.arange(50) * 97 % 1009, name="order_id"), True),
        (pd.Series(np.arange(50) * 97 % 1009, name="height"), False),
        (pd.Series([f"u{k}" for k in range(50)], name="user"), True),
        (pd.Series(["a", "b"] * 25, name="user_id"), False),
        (pd.Series(np.linspace(0, 1, 50), name="x"), False),
        (pd.Series(range(5), name="id"), False),
        (pd.Series(pd.date_range("2024-01-01", periods=50), name="day"), False),
    ],
)
def test_columns_that_name_rows_are_told_from_measurements(column, is_id):
    assert reading._is_id(column, str(column.name)) == is_id


def test_an_honest_table_gets_no_caution(folder, capsys):
    _, out, _ = run(capsys, "numbers.csv", *QUICK)
    assert "Caution" not in out


def test_rows_of_a_time_column_are_judged_on_later_ones(folder, capsys):
    frame = pd.read_csv("numbers.csv")
    day = pd.date_range("2024-01-01", periods=80).strftime("%d.%m.%Y")
    frame.assign(day=day).sample(frac=1, random_state=0).to_csv("days.csv", index=False)
    status, out, _ = run(capsys, "days.csv", "--time", "day", *QUICK)
    assert status == 0
    assert "in the order of 'day'" in out
    assert "New groups or later times?" in out


# --- the scores alone --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "metrics"),
    [
        (["classes.csv", "--target", "kind"], {"accuracy", "balanced_accuracy", "log_loss"}),
        (["numbers.csv"], {"r2", "root_mean_squared_error", "mean_absolute_error"}),
        (["numbers.csv", "--groups", "0", "--cv", "3"], {"r2", "mean_absolute_error"}),
    ],
)
def test_cv_prints_the_scores_by_fold(words, metrics, folder, capsys):
    words = ["cv", *words] if "--cv" in words else ["cv", *words, "--cv", "2"]
    assert cli.main([*words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert metrics <= set(scores)
    assert all(len(v["folds"]) == (3 if "3" in words else 2) for v in scores.values())
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert all(metric in out for metric in metrics)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_cv_scores_a_class_that_most_folds_lack(folder, capsys):
    frame = pd.read_csv("classes.csv")
    frame.loc[0, "kind"] = "maybe"
    frame.to_csv("rare.csv", index=False)
    assert cli.main(["cv", "rare.csv", "--target", "kind", "--cv", "3", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert np.isfinite(scores["log_loss"]["folds"]).all()
    # the fold that holds the row out never saw its class, which costs -log(1e-6) of 27 rows
    assert max(scores["log_loss"]["folds"]) > 13.8 / 27


def test_cv_says_what_is_wrong_in_one_line(folder, capsys):
    assert cli.main(["cv", "classes.csv"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "--target COLUMN; classes.csv has: a, b" in err


@pytest.mark.parametrize(
    ("separator", "decimal"), [(";", ","), ("\t", "."), ("|", "."), (",", ".")]
)
def test_the_separator_of_a_csv_is_that_of_its_header(separator, decimal, tmp_path):
    frame = pd.DataFrame({"size, in m": [1.5, 2.25], "fuel": ["Öl; Gas", "x"], "target": [0, 1]})
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False, sep=separator, decimal=decimal, encoding="cp1252")
    remarks = []
    seen = reading._numbers(reading.read_table(str(path), remarks), remarks)
    pd.testing.assert_frame_equal(seen, frame)
    assert any("Windows-1252" in remark for remark in remarks)
    assert any("separated by" in remark for remark in remarks) == (separator != ",")


@pytest.mark.parametrize(
    ("separator", "words", "numbers"),
    [
        (",", ["0,207", "1", "0,374"], [0.207, 1, 0.374]),  # no group of thousands begins with 0
        (",", ["1,207", "1", "2,374"], [1207, 1, 2374]),
        (";", ["1,207", "1", "2,374"], [1.207, 1, 2.374]),
        (";", ["1,207,000", "1", "$ 2,374"], [1_207_000, 1, 2374]),
        (";", ["1.207,5", "1", "-2,25 %"], [1207.5, 1, -2.25]),
        (";", ["$ 1,207.5", "$ 1", "$ 0.5"], [1207.5, 1, 0.5]),
    ],
)
def test_a_comma_is_of_decimals_or_of_thousands(separator, words, numbers, tmp_path):
    frame = pd.DataFrame({"x": words, "target": range(3)})
    frame.to_csv(tmp_path / "t.csv", sep=separator, index=False)
    seen = reading._numbers(reading.read_table(str(tmp_path / "t.csv")), [])
    assert seen["x"].tolist() == pytest.approx(numbers)


@pytest.mark.parametrize(
    ("training", "words", "numbers"),
    [
        (["0,207", "1,374"], ["1,207", "3,374"], [1.207, 3.374]),
        (["1,207", "3,374.5"], ["1,207", "3,374"], [1207, 3374]),
        (["1,207", "3,374"], ["0,5", "3,374"], [0.5, 3.374]),  # cannot be as in training
        (["1,207", "many"], ["1,207", "3,374"], ["1,207", "3,374"]),  # no number in training
        ([0.5, 1.5], ["1,207", "3,374"], [1207, 3374]),
    ],
)
def test_numbers_of_the_test_rows_are_read_as_those_of_the_training_rows(training, words, numbers):
    learnt = reading._decimals(pd.DataFrame({"x": training}))
    test = pd.DataFrame({"x": words})
    seen = reading._numbers(test, [], reading._decimals(test, learnt))
    assert seen["x"].tolist() == numbers


def test_a_test_file_with_other_separators_is_read_as_the_training_table(tmp_path, capsys):
    table = pd.DataFrame({"x": ["0,207", "1,374"] * 6, "target": [0, 1] * 6})
    table.to_csv(tmp_path / "a.csv", sep=";", index=False)
    table.iloc[1::2].to_csv(tmp_path / "b.csv", index=False)
    words = ["diagnose", str(tmp_path / "a.csv"), "--test", str(tmp_path / "b.csv")]
    problem = reading.read_problem(cli._parser().parse_args(words))
    assert problem.X["x"].max() == problem.X_test["x"].max() == 1.374


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "\ufeffsep=;"])
def test_a_line_that_tells_excel_the_separator_is_no_header(line, tmp_path):
    (tmp_path / "t.csv").write_text(f"{line}\na;b\n1,5;x\n2,5;y\n", "utf-8")
    frame = reading.read_table(str(tmp_path / "t.csv"))
    assert frame.columns.tolist() == ["a", "b"]
    assert frame["b"].tolist() == ["x", "y"]


def test_one_column_needs_no_separator(tmp_path):
    (tmp_path / "one.csv").write_text("target\n1\n2\n", "utf-8-sig")
    assert reading.read_table(str(tmp_path / "one.csv")).columns.tolist() == ["target"]


def test_the_unicode_text_of_a_spreadsheet_is_read(tmp_path):
    frame = pd.DataFrame({"größe": [1.5, 2.25], "target": ["ж", "x"]})
    frame.to_csv(tmp_path / "sheet.tsv", index=False, sep="\t", encoding="utf-16")
    pd.testing.assert_frame_equal(reading.read_table(str(tmp_path / "sheet.tsv")), frame)


# --- times ---------------------------------------------------------------------------------------


def problem_of(*words):
    return reading.read_problem(cli._parser().parse_args(["cv", *words]))


DAYS = pd.date_range("2024-01-05 09:30", periods=60, freq="36h")


@pytest.mark.parametrize(
    "written",
    ["%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S"],
)
def test_dates_in_writing_are_times_in_one_order_of_day_and_month(written, tmp_path):
    frame = pd.DataFrame({"day": DAYS.strftime(written), "target": range(60)})
    frame.loc[3, "day"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    problem = problem_of(str(tmp_path / "t.csv"))
    expected = pd.Series(DAYS).where(frame["day"].notna())
    assert problem.X["day"].astype("datetime64[s]").equals(expected.astype("datetime64[s]"))
    assert any("'day': read as times" in remark for remark in problem.remarks)


@pytest.mark.parametrize("written", ["%d.%m.%Y", "%m/%d/%Y", "%d %b %Y", "%Y-%m-%dT%H:%M:%S+02:00"])
def test_rows_are_in_the_order_of_their_times(written, tmp_path):
    frame = pd.DataFrame({"day": DAYS.strftime(written), "x": 1.0, "target": range(60)})
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "t.csv", index=False)
    problem = problem_of(str(tmp_path / "t.csv"), "--time", "day")
    assert problem.y.is_monotonic_increasing


def test_times_of_several_zones_are_in_utc(tmp_path):
    days = ["2024-01-05T00:30:00+02:00", "2024-01-05 00:10:00+01:00", "2024-01-04T22:45:00Z"]
    frame = pd.DataFrame({"day": days * 4, "x": 1.0, "target": [0, 2, 1] * 4})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert problem_of(str(tmp_path / "t.csv"), "--time", "day").y.is_monotonic_increasing


@pytest.mark.parametrize("day", ["03/04/2024", "3-4-24"])
def test_a_time_that_could_be_two_is_refused(day, tmp_path):
    frame = pd.DataFrame({"day": [day, "05/06/2024"] * 5, "x": 1.0, "target": range(10)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(reading.InputError, match="--time 'day'"):
        problem_of(str(tmp_path / "t.csv"), "--time", "day")


def test_dates_of_the_test_rows_are_read_as_those_of_the_training_rows():
    words = {"sure": ["13/02/2024", "01/02/2024"], "unsure": ["01/02/2024", "01/03/2024"]}
    learnt = times.date_orders(pd.DataFrame(words))
    test = pd.DataFrame({"sure": ["03/04/2024"], "unsure": ["2024-04-03"], "other": ["2024-04-03"]})
    seen = times.with_dates(test, times.date_orders(test, learnt), [])
    assert seen["sure"][0] == seen["other"][0] == pd.Timestamp("2024-04-03")
    assert seen["unsure"][0] == "2024-04-03"  # text, as in training


def test_times_are_a_target_only_as_labels(tmp_path):
    pd.DataFrame({"x": range(6), "target": DAYS[[0, 1] * 3]}).to_csv(tmp_path / "t.csv")
    with pytest.raises(reading.InputError, match="'target' holds times; make numbers"):
        problem_of(str(tmp_path / "t.csv"))
    words = (str(tmp_path / "t.csv"), "--task", "classification")
    assert problem_of(*words).task == "classification"


# --- headers, indexes and types ----------------------------------------------------------------


def test_separators_at_the_end_of_rows_do_not_move_columns(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,target\n0,2,x,\n1,4,y,\n")
    seen = reading.read_table(str(tmp_path / "t.csv"))
    assert seen.to_dict("list") == {"a": [0, 1], "b": [2, 4], "target": ["x", "y"]}


def test_names_of_rows_without_a_name_of_their_own_are_told(tmp_path):
    (tmp_path / "t.csv").write_text("a,target\nr1,1,x\nr2,3,y\n")
    remarks = []
    seen = reading.read_table(str(tmp_path / "t.csv"), remarks)
    assert seen.to_dict("list") == {"a": [1, 3], "target": ["x", "y"]}
    assert "t.csv: the first value of each row, 'r1' and so on" in remarks[0]


@pytest.mark.parametrize("rows", ["0.5,1,x\n0.7,3,y\n", "u,1,x\nu,3,y\n", "p,q,1,x\nr,s,3,y\n"])
def test_values_that_the_header_does_not_name_are_refused(rows, tmp_path):
    (tmp_path / "t.csv").write_text("a,target\n" + rows)
    with pytest.raises(reading.InputError, match=r"t\.csv names 2 columns, but its rows have [34]"):
        reading.read_table(str(tmp_path / "t.csv"))


def test_blanks_around_names_and_values_are_no_part_of_them(tmp_path):
    (tmp_path / "t.csv").write_text('a, b ,target \n1, "x, y", no\n')
    seen = reading.read_table(str(tmp_path / "t.csv"))
    assert seen.to_dict("list") == {"a": [1], "b": ["x, y"], "target": ["no"]}


def test_a_target_of_true_and_false_may_have_missing_values(tmp_path):
    values = [True, False, None] * 4
    pd.DataFrame({"a": range(12), "target": values}).to_csv(tmp_path / "t.csv", index=False)
    problem = problem_of(str(tmp_path / "t.csv"))
    assert (problem.task, problem.y.dtype, len(problem.y)) == ("classification", bool, 8)


def test_a_category_of_parquet_stays_one(tmp_path):
    frame = pd.DataFrame({"shop": pd.Categorical(["10", "2"] * 6), "target": range(12)})
    frame.to_parquet(tmp_path / "t.parquet")
    assert isinstance(problem_of(str(tmp_path / "t.parquet")).X["shop"].dtype, pd.CategoricalDtype)


def test_a_named_index_of_parquet_is_a_column(tmp_path):
    frame = pd.DataFrame({"a": range(60), "target": range(60)}, index=DAYS.rename("day"))
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "t.parquet")
    assert problem_of(str(tmp_path / "t.parquet"), "--time", "day").y.is_monotonic_increasing


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("sklearn-dl ")


@pytest.mark.parametrize("words", [["--help"], ["diagnose", "--help"], ["cv", "--help"]])
def test_help_ends_well(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "exit status: 0" in out
