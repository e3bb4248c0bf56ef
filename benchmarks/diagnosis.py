"""Is the verdict right? Planted faults, their measured truth, and rules of others in the same run.

    python benchmarks/diagnosis.py --data FOLDER --cache cache.jsonl

FOLDER holds one parquet file a table, the target in column ``target``. What is true of a case and
what the diagnosis measured are kept in the cache, so a run that was stopped goes on, and a change
of the rules alone needs no training.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from counterfactuals import Judge, measure, right_verdicts, run
from planted import (
    CANDIDATES,
    HELD_OUT,
    LARGER,
    LATER,
    N_TRAIN,
    PARTS,
    ROWS,
    TUNED,
    Case,
    Source,
    load,
    make_case,
    plan,
)
from rivals import RIVALS
from scoring import confusion, probability_scores, scores
from sklearn.model_selection import cross_val_score

from sklearn_dl import batched_fits, diagnose
from sklearn_dl.diagnosis import references
from sklearn_dl.diagnosis.gaps import Gap
from sklearn_dl.diagnosis.rules import Decision, Findings, Verdict, decide
from sklearn_dl.diagnosis.subcauses import cause

#: Obvious ones, one a cause, on generated rows.
SMALL = [("rings", "linear", 0), ("parity", "slow rate", 2), ("noisy classes", "few rows", 1),
         ("noisy numbers", "concept shift", 2)]  # fmt: skip


def read(cache: Path) -> dict[str, dict[str, Any]]:
    """Key -> record; the last one of a key counts."""
    if not cache.exists():
        return {}
    lines = cache.read_text("utf-8").splitlines()
    return {record["key"]: record for record in map(json.loads, lines)}


def keep(cache: Path, record: dict[str, Any]) -> None:
    with cache.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_plain(record)) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _named(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters by the network's own names, modules by theirs."""
    return {
        k.rpartition("__")[2]: v if isinstance(v, int | float | str | tuple | None) else repr(v)
        for k, v in params.items()
    }


def healthy(source: Source, cache: Path, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The network of the table: of the candidates the one that does best on fresh rows."""
    key = f"base|{source.name}"
    if key not in known:
        case = Case(
            key, source.name, "healthy", "good", 0, source.task, {}, source.X, source.y,
            source.X_fresh, source.y_fresh, source.X_pool, source.y_pool,
        )  # fmt: skip
        tables = [(source.X_fresh, source.y_fresh)]
        fits = [
            (case.estimator(**params, random_state=0), source.X, source.y, tables)
            for params in CANDIDATES
        ]
        losses = [row[0] for row in run(fits, Judge(case))]
        known[key] = {"key": key, "losses": losses, "best": int(np.argmin(losses))}
        keep(cache, known[key])
    return CANDIDATES[known[key]["best"]]


def cases(
    folder: Path, cache: Path, chosen: list[tuple[str, str, int]], n_train: int = N_TRAIN
) -> Iterator[Case]:
    """The planned cases, in an order that leaves a fair sample wherever it is cut off."""
    known = read(cache)
    sources: dict[str, Source] = {}
    order = sorted(chosen, key=lambda c: zlib.crc32("|".join(map(str, c)).encode()))
    for table, fault, level in order:
        if table not in sources:
            sources[table] = load(table, folder, n_train=n_train)
        number = zlib.crc32(f"{table}|{fault}|{level}".encode()) % 1000
        base = healthy(sources[table], cache, known)
        case = make_case(sources[table], base, fault, level, number)
        if case.kind != "skip":
            yield case


@contextmanager
def remembered_references() -> Iterator[None]:
    """Fit the reference pool once for cases of the same rows, folds and loss: it is the same."""
    fit, memory = references.pool_fits, {}

    def remembered(models: Any, table: Any, folds: Any, loss: Any, **options: Any) -> Any:
        rows = (table.X, table.y, table.loss_weight, table.fit_weight, folds.splits, folds.inside)
        key = joblib.hash((rows, sorted(models), loss, options["seed"]))
        if key not in memory:
            memory[key] = fit(models, table, folds, loss, **options)
        pool, notes = memory[key]
        return dict(pool), list(notes)

    references.pool_fits = remembered
    try:
        yield
    finally:
        references.pool_fits = fit


def study_cases(
    folder: Path,
    cache: Path,
    chosen: list[tuple[str, str, int]],
    steps: list[str],
    n_train: int = N_TRAIN,
) -> None:
    """Truth and diagnosis of each case in turn, so that a run cut off leaves whole cases."""
    known = read(cache)
    asked = set(steps) & {"truth", "diagnose"}
    for case in cases(folder, cache, chosen, n_train) if asked else ():
        truth, seen = f"truth|{case.key}", f"seen|{case.key}"
        if truth not in known and "truth" in steps:
            known[truth] = {"key": truth, **measure(case)}
            keep(cache, known[truth])
        if truth in known and seen not in known and "diagnose" in steps:
            record = {"key": seen, **diagnosed(case)}
            keep(cache, record)
            right = known[truth]["right"]
            print(f"{case.key}: {record['verdict']}, right {right}", flush=True)


def study_costs(
    folder: Path, cache: Path, chosen: list[tuple[str, str, int]], n_cases: int, n_train: int
) -> None:
    """CPU seconds of a case's fit, cross-validation and diagnosis, the first ``n_cases``."""
    known = read(cache)
    for case in islice(cases(folder, cache, chosen, n_train), n_cases):
        key = f"cost|{case.key}"
        if key not in known:
            keep(cache, {"key": key, **cost(case)})


def cost(case: Case) -> dict[str, float]:
    """CPU seconds; of the diagnosis also without the models it compares with."""
    spent = [0.0]
    fit = references.pool_fits

    def timed(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        found = fit(*args, **options)
        spent[0] += time.process_time() - start
        return found

    def seconds(work: Any) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    def validated() -> None:
        with batched_fits(), suppress(ValueError):  # where every fold diverges
            cross_val_score(case.estimator(), case.X, case.y, cv=5, error_score=0.0)

    # the first of a process pays for imports
    found = {"fit": min(seconds(lambda: fitted(case)) for _ in range(2)), "cv": seconds(validated)}
    references.pool_fits = timed
    try:
        found["diagnose"] = seconds(lambda: diagnosed(case))
    finally:
        references.pool_fits = fit
    return found | {"networks": found["diagnose"] - spent[0]}


def fitted(case: Case) -> None:
    """One fit alone; one that diverges has taken its time too."""
    with suppress(FloatingPointError):
        case.estimator().fit(case.X, case.y)


def report_costs(cache: Path) -> None:
    """Medians over the cases that were timed."""
    timed = pd.DataFrame([r for k, r in read(cache).items() if k.startswith("cost|")])
    if len(timed):
        ratios = pd.DataFrame({
            "all, in cross-validations": timed["diagnose"] / timed["cv"],
            "networks alone, in cross-validations": timed["networks"] / timed["cv"],
            "networks alone, in single fits": timed["networks"] / timed["fit"],
        })  # fmt: skip
        print(f"\nCPU time of {len(timed)} cases, quartiles")
        print(ratios.quantile([0.25, 0.5, 0.75]).to_string(float_format="{:.1f}".format))


def diagnosed(case: Case) -> dict[str, Any]:
    """The verdict and what it rests on."""
    start = time.perf_counter()
    d = diagnose(
        case.estimator(), case.X, case.y, X_test=case.X_test, y_test=case.y_test,
        groups=case.groups, random_state=0,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    study, evidence = d._study, d.evidence.set_index("code")
    first = d.remedies[0] if d.remedies else None
    return {
        "verdict": d.verdict.value, "probabilities": d.probabilities.to_dict(),
        "findings": asdict(study.findings), "losses": d.to_dict()["losses"],
        "codes": evidence.index[evidence["outcome"] == "found"].tolist(),
        "values": evidence["value"].to_dict(), "n_fits": study.n_fits, "seconds": seconds,
        "remedy": None if first is None else [first.action, _named(first.params)],
        "params": configuration(case), "probes": probe_numbers(study),
    }  # fmt: skip


def probe_numbers(study: Any) -> dict[str, Any]:
    """Beyond the findings, to study rules offline."""
    p, b = study.probes, study.brakes
    names = ("training", "reference", "strong", "lifted", "wide")
    numbers = {} if p is None else {name: getattr(p, name) for name in names}
    if p is not None:
        numbers |= {f"{k}_gain": [g.value, g.stderr] for k, g in
                    (("strong", p.strong_gain), ("wide", p.wide_gain))}  # fmt: skip
    if b is not None:
        numbers["brakes"] = [[t.action, t.gain.value, t.gain.stderr] for t in b.tried]
    return numbers


def configuration(case: Case) -> dict[str, float]:
    """What a rule that never trains can know."""
    p = case.params
    sizes = p["hidden_layer_sizes"]
    return {
        "log rate": float(np.log10(p["learning_rate"])), "epochs": p["max_epochs"],
        "depth": len(sizes), "width": min(sizes, default=0), "decay": p["weight_decay"],
        "dropout": p["dropout"], "sgd": p["optimizer"] == "sgd",
        "sigmoid": p["activation"] == "sigmoid", "identity": p["activation"] == "identity",
        "own module": callable(p["module"]), "raw": p["preprocessing"] is None,
        "log rows": float(np.log(len(case.X))), "columns": case.X.shape[1],
        "test": case.X_test is not None,
    }  # fmt: skip


def collected(cache: Path, tables: dict[str, str]) -> list[dict[str, Any]]:
    """Cases of these tables of which both truth and diagnosis are known."""
    known = read(cache)
    records = []
    for key, seen in known.items():
        kind, _, name = key.partition("|")
        truth = known.get(f"truth|{name}")
        if kind == "seen" and truth is not None and name.partition("|")[0] in tables:
            # from its numbers, so that a change of the bands needs no training
            right = right_verdicts(truth)
            records.append({**seen, "truth": truth, "right": right, "case": name})
    return records


def decided(record: dict[str, Any]) -> Decision:
    """The present rules on what was measured."""
    given = {k: Gap(**v) if isinstance(v, dict) else v for k, v in record["findings"].items()}
    return decide(Findings(**given))


def report(cache: Path) -> int:
    named = {"tuned tables": TUNED, "held-out tables": HELD_OUT, "larger held-out tables": LARGER,
             "later held-out tables": LATER}  # fmt: skip
    parts = {name: collected(cache, tables) for name, tables in named.items()}
    tuned = parts["tuned tables"]
    for name, records in parts.items():
        if not records:
            continue
        print(
            f"\n== {name}: {', '.join(sorted({r['truth']['key'].split('|')[1] for r in records}))}"
        )
        decisions = [decided(r) for r in records]
        answers = {"diagnose": [d.verdict.value for d in decisions]}
        for rival, learn in RIVALS.items() if tuned else ():  # they learn from the tuned cases
            answers[rival] = said_by(learn, records, tuned)
        lines = {who: scores(records, said) for who, said in answers.items()}
        print(pd.DataFrame(lines).T.to_string(float_format="{:.3f}".format))
        stated = [{v.value: p for v, p in d.probabilities.items()} for d in decisions]
        numbers = probability_scores(records, stated)
        print("probabilities:", ", ".join(f"{k} {v:.3f}" for k, v in numbers.items()))
        print(f"fits, median: {np.median([r['n_fits'] for r in records]):.0f}")
        print(confusion(records, answers["diagnose"]).to_string())
        print(named_causes(records, answers["diagnose"]).to_string())
        wrong = [(r, a) for r, a in zip(records, answers["diagnose"], strict=True)
                 if len(r["right"]) == 1 and a not in r["right"]]  # fmt: skip
        for record, said in wrong:
            print(f"  {record['case']}: {said}, right {record['right'][0]}")
    report_costs(cache)
    return 0


def named_causes(records: list[dict[str, Any]], answers: list[str]) -> pd.Series:
    """What stands behind optimization, by planted fault, where that was said and is right."""
    named = [
        (r["case"].split("|")[1], cause(Verdict.OPTIMIZATION, set(r["codes"])) or "nothing named")
        for r, said in zip(records, answers, strict=True)
        if said == Verdict.OPTIMIZATION and said in r["right"]
    ]
    return pd.DataFrame(named, columns=["planted", "named"]).value_counts(sort=False)


def said_by(learn: Any, records: list[Any], tuned: list[Any]) -> list[str]:
    """A rival's answers; on the tables it is tuned on, each table without its own cases."""
    if records is not tuned:
        answer = learn(tuned)
        return [answer(r) for r in records]
    said = []
    for record in records:
        table = record["case"].partition("|")[0]
        others = [r for r in tuned if r["case"].partition("|")[0] != table]
        said.append(learn(others)(record))
    return said


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("."))
    parser.add_argument("--cache", type=Path, default=Path("diagnosis.jsonl"))
    parser.add_argument("--per-fault", type=int, default=1)
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    parser.add_argument("--steps", nargs="+", default=["truth", "diagnose", "report"])
    parser.add_argument("--rows", type=int, help="to learn; a cache of its own")
    parser.add_argument("--tables", nargs="*", help="only these of each part")
    parser.add_argument("--costs", type=int, default=0, help="time so many cases of each part")
    parser.add_argument("--small", action="store_true", help="a few generated cases, a minute")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if options.small:
        with remembered_references():
            study_cases(options.data, options.cache, SMALL, options.steps)
        return 0
    for part in options.parts:
        chosen = plan(PARTS[part], per_fault=options.per_fault)
        if options.tables:
            chosen = [case for case in chosen if case[0] in options.tables]
        rows = options.rows or ROWS.get(part, N_TRAIN)
        with remembered_references():
            study_cases(options.data, options.cache, chosen, options.steps, rows)
        study_costs(options.data, options.cache, chosen, options.costs, rows)
    return report(options.cache) if "report" in options.steps else 0


if __name__ == "__main__":
    raise SystemExit(main())
