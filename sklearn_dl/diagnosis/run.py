"""One diagnosis in progress: the steps in the order they happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import check_scoring

from sklearn_dl.diagnosis import checks, references, rules, split_checks
from sklearn_dl.diagnosis.brakes import Brakes, try_brakes
from sklearn_dl.diagnosis.findings import find, with_probes_of
from sklearn_dl.diagnosis.fold_fits import (
    FoldFit,
    as_prior,
    by_row,
    fit_jobs,
    jobs_on,
    training_by_fold,
)
from sklearn_dl.diagnosis.ledger import Measured, Refits, build_ledger, measure
from sklearn_dl.diagnosis.mismatch import Mismatch, examine
from sklearn_dl.diagnosis.own_loss import Aim, row_loss
from sklearn_dl.diagnosis.probes import Probes, run_probes
from sklearn_dl.diagnosis.remedies import find_remedies, param_grid
from sklearn_dl.diagnosis.result import Diagnosis, Study
from sklearn_dl.diagnosis.rules import Decision, Findings, Verdict, decide
from sklearn_dl.diagnosis.scores import metric_by_entry, scores_by_rows
from sklearn_dl.diagnosis.shift_checks import shift_checks
from sklearn_dl.diagnosis.statistics import Estimate, paired_difference
from sklearn_dl.diagnosis.subject import Subject
from sklearn_dl.diagnosis.symptom_checks import symptom_checks
from sklearn_dl.diagnosis.symptoms import Symptoms, symptoms_of
from sklearn_dl.diagnosis.table import Folds, Table
from sklearn_dl.diagnosis.tails import Tail, heavy_tail, log_targets, rejudged, robust_loss
from sklearn_dl.diagnosis.temperature import Predicted, tempered_losses
from sklearn_dl.diagnosis.thorough import Closer, closer_look, saddle_of

__all__ = ["Listener", "Run"]

Floats = NDArray[np.float64]
Listener = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
T = TypeVar("T")

N_REFERENCES = 6
QUICK = (references.PRIOR, "linear", "nearest neighbours")  # references that take seconds


class Run:
    """Measures, and hands what it measured to the rules."""

    def __init__(
        self,
        subject: Subject,
        table: Table,
        test: Table | None,
        folds: Folds,
        aim: Aim,
        scoring: Any,
        budget: str,
        seed: int,
        listener: Listener | None,
        notes: list[str],
    ) -> None:
        self.subject, self.table, self.folds, self.aim = subject, table, folds, aim
        self.unlabelled = test if test is not None and test.y is None else None
        self.test = None if self.unlabelled is not None else test
        self.budget, self.seed, self.notes = budget, seed, notes
        self.scorer = None if scoring is None else check_scoring(subject.estimator, scoring)
        self.loss = row_loss(aim, table)
        self.listener = listener
        self.done = 0
        self.interrupted = False

    def tell(self, what: str) -> None:
        """Count a step."""
        self.done += 1
        if self.listener is not None:
            self.listener(what, self.done, len(self.folds) + N_REFERENCES + 3)

    def attempt(self, what: str, step: Callable[[], T]) -> T | None:
        """A step the verdict can do without: after Ctrl-C what is known so far is given."""
        if self.interrupted:
            return None
        try:
            self.tell(what)
            return step()
        except KeyboardInterrupt:
            self.interrupted = True
            self.notes.append(f"interrupted while {what}: later steps are left out")
            return None

    def diagnosis(self) -> Diagnosis:
        """All of it."""
        fits = self.own_fits()
        pool = self.reference_fits()
        measured = self.compare(fits, pool, self.loss)
        diverged = sum(f.failure is not None for f in fits)
        room = measured.held_out.value - measured.training.value
        claims = measured.claims
        near = rules.may_be_large(claims["training"], claims["estimation"], room, measured.margin)
        large = near or diverged > 0
        probes = brakes = symptoms = None
        if large:
            probes = self.attempt("probing", lambda: self.probes(fits, pool, measured))
        calibration = self.overconfidence(fits, measured)
        if not rules.found(measured.claims["training"], measured.margin):
            brakes = self.attempt("braking", lambda: self.brakes(fits, measured))
        moved = self.attempt("comparing the tables", lambda: self.mismatch(fits, measured))
        ordered = self.attempt("ordering the folds", lambda: self.ordered(pool))
        findings = find(measured, probes, diverged / len(fits), brakes, calibration)
        decision = decide(findings)
        if large:
            unsure = diverged > 0 or decision.verdict is Verdict.INCONCLUSIVE
            go_on = unsure or rules.large(findings)
            symptoms = self.attempt(
                "examining", lambda: self.symptoms(fits[0], measured, go_on=go_on)
            )
        tail = self.tail(fits, pool, measured, findings, decision)
        closer = None
        if self.budget == "thorough":
            closer = self.attempt("looking closer", lambda: self.closer(fits, measured))
        elif self.budget == "standard" and decision.verdict is Verdict.OPTIMIZATION:
            closer = self.attempt("looking for a saddle", lambda: self.saddle(fits[0], measured))
        evidence = self.evidence(
            fits, measured, probes, symptoms, brakes, calibration, moved, ordered, tail,
            large=large, more=() if closer is None else closer.evidence,
        )  # fmt: skip
        found = evidence.loc[evidence["outcome"] == "found", "code"]
        n_train = len(self.folds.splits[0][0])
        remedies = find_remedies(
            self.subject, decision, found, n_train, probes=probes, brakes=brakes,
            calibration=calibration, shift=None if moved is None else moved.name,
            has_test=self.test is not None,
            tried=() if closer is None else closer.remedies,
        )  # fmt: skip
        study = Study(
            self.subject, self.subject.estimator, self.table, self.test, self.folds, self.loss,
            tuple(fits), by_row(pool[references.PRIOR], len(self.table)), measured, decision,
            tuple(self.notes), scores_by_rows(fits, self.scorer), int(evidence["fits"].sum()),
            evidence, findings, probes, brakes, self.unlabelled,
        )  # fmt: skip
        probabilities = pd.Series(
            {v.value: p for v, p in decision.probabilities.items()}, name="probability"
        )
        book = build_ledger(measured, None if probes is None else probes.split)
        if self.scorer is not None:
            best = pool.get(measured.reference_name, fits)
            book["score"] = metric_by_entry(fits, best, book)
        return Diagnosis(
            decision.verdict, probabilities, book, evidence, remedies,
            param_grid(self.subject, remedies), study,
        )  # fmt: skip

    # --- measuring ------------------------------------------------------------------------------

    def own_fits(self) -> list[FoldFit]:
        """The user's estimator on every fold."""
        jobs = jobs_on(
            self.folds, self.subject.estimator, self.table, fit_prefix=self.subject.fit_prefix,
            extra=self.test, scorer=self.scorer, keep_outputs=True,
        )  # fmt: skip
        jobs[0] = replace(jobs[0], keep_fitted=True)
        fits = fit_jobs(jobs, self.loss, lambda: self.tell("fitting the folds"), partial=True)
        if len(fits) < len(jobs):
            self.interrupted = True
            self.folds = replace(
                self.folds,
                splits=tuple((f.train, f.test) for f in fits),
                inside=tuple(f.inside for f in fits) if self.folds.inside else (),
            )
            self.notes.append(f"interrupted: {len(fits)} of {len(jobs)} folds were fitted")
        failures = [f.failure for f in fits if f.failure is not None]
        if failures:
            self.notes.append(
                f"{len(failures)} of {len(fits)} fits diverged and are scored as the prior: "
                f"{failures[0]}"
            )
        return fits

    @cached_property
    def plain(self) -> Table:
        """The table as references take it: plain numbers and strings."""
        plain = replace(self.table, X=references.plain_frame(self.table.X))
        if (self.table.loss_weight != 1).any():  # references minimise what they are judged by
            plain = replace(plain, fit_weight=self.table.loss_weight)
        return plain

    @property
    def classify(self) -> bool:
        """One class a row, or numbers and labels."""
        return self.subject.task == "classification" and self.table.y.ndim == 1

    def reference_fits(self) -> dict[str, list[FoldFit]]:
        """The pool, judged on rows it did not learn."""
        # Their modules take a while to import, and only a diagnosis needs them.
        from sklearn_dl.diagnosis import reference_models

        n_train = min(len(self.folds.splits[0][0]), references.MAX_ROWS)
        self.notes += reference_models.not_of(self.aim, n_train)
        models = reference_models.pool(
            self.plain.X, self.subject.task, n_train, self.seed, self.aim,
            apart=self.folds.kind != "independent",
            n_targets=int(np.prod(self.table.y.shape[1:])),
            weighted=self.plain.fit_weight is not None,
        )  # fmt: skip
        if self.interrupted:  # what takes seconds, so that there is something to compare with
            models = {name: models[name] for name in QUICK if name in models}
            self.notes.append(f"references are only: {', '.join(models)}")
        pool, notes = references.pool_fits(
            models, self.plain, self.folds, self.loss, seed=self.seed, stratify=self.classify,
            scorer=self.scorer, done=lambda: self.tell("fitting the references"),
        )  # fmt: skip
        self.notes += notes
        self.interrupted |= any(note.startswith("interrupted") for note in notes)
        return pool

    def compare(self, fits: list[FoldFit], pool: dict[str, list[FoldFit]], loss: Any) -> Measured:
        """Losses, gaps and tests; a fold that diverged counts as the prior."""
        table, within = self.table, bool(self.folds.inside)
        n, weight = len(table), table.loss_weight
        rows = {name: by_row(fits, n) for name, fits in pool.items()}
        prior = rows[references.PRIOR]
        own = as_prior(by_row(fits, n), fits, prior, table)
        losses = {name: r.inside if within else r.held_out for name, r in rows.items()}

        learnt = training_by_fold(fits, weight)
        ratios = [len(f.inside if within else f.test) / len(f.train) for f in fits]
        return measure(
            own.fitted, own.inside if within else own.held_out, losses, weight,
            prior=references.PRIOR, test_over_train=float(np.mean(ratios)),
            test=own.extra if self.test is not None else None,
            test_weights=self.test.loss_weight if self.test is not None else None,
            later=own.held_out if within else None, clusters=table.clusters,
            refits=None if learnt is None else Refits(*learnt),
            same_groups=within and self.folds.kind == "grouped",
        )  # fmt: skip

    def probes(
        self, fits: list[FoldFit], pool: dict[str, list[FoldFit]], measured: Measured
    ) -> Probes | None:
        """The same network under strong optimizers, and larger ones."""
        rows = by_row(pool.get(measured.reference_name, fits), len(self.table))
        reference = rows.inside if self.folds.inside else rows.held_out
        return run_probes(
            self.subject, fits, self.table, self.folds, self.loss, reference,
            budget=self.budget, prior_loss=measured.prior.value, seed=self.seed,
            large=measured.training_gap.value > measured.margin or any(f.failure for f in fits),
            margin=measured.margin,
        )  # fmt: skip

    def symptoms(self, first: FoldFit, measured: Measured, *, go_on: bool) -> Symptoms | None:
        """What the first fold's fit shows of its training."""
        rows, prior = self.table.take(first.train), measured.prior.value
        return symptoms_of(self.subject, first.fitted, rows, prior, go_on=go_on)

    def brakes(self, fits: list[FoldFit], measured: Measured) -> Brakes | None:
        """Whether holding the network back helps; not asked where its held-out loss is low."""
        gap, m = measured.claims["estimation"], measured.margin
        room = measured.held_out.value - measured.training.value
        if self.budget == "quick" or room <= m:
            return None
        return try_brakes(
            self.subject, fits, self.table, self.folds, self.loss, gap, m,
            measured.prior.value, thorough=self.budget == "thorough", seed=self.seed,
        )  # fmt: skip

    def closer(self, fits: list[FoldFit], measured: Measured) -> Closer:
        """Curvature, learning rate, optimizer settings and resilience."""
        return closer_look(
            self.subject, fits, self.table, self.folds, self.loss, measured, self.seed
        )

    def saddle(self, first: FoldFit, measured: Measured) -> Closer:
        """Whether the first fold's training stopped at a saddle point."""
        saddle = saddle_of(self.subject, first, self.table, self.loss, measured)
        return Closer((saddle.evidence,), () if saddle.remedy is None else (saddle.remedy,))

    def mismatch(self, fits: list[FoldFit], measured: Measured) -> Mismatch | None:
        """Two-sample test, and what explains C - B."""
        rows = self.test or self.unlabelled
        if rows is None:
            return None
        own = by_row(fits, len(self.table))
        return examine(
            self.plain, rows, own.held_out, own.extra, measured, self.classify, self.seed
        )

    def ordered(self, pool: dict[str, list[FoldFit]]) -> Estimate | None:
        """How much contiguous folds cost more than shuffled ones, by the cheapest reference."""
        from sklearn_dl.diagnosis.reference_models import extra_trees

        shuffled = pool.get("extra trees")
        contiguous = self.folds.shuffled and self.budget != "quick"
        if shuffled is None or not contiguous:
            return None
        folds = split_checks.contiguous_folds(self.table.y, len(self.folds), stratify=self.classify)
        model = {
            references.PRIOR: extra_trees(self.plain.X, self.subject.task, self.seed, self.aim)
        }
        refit, _ = references.pool_fits(
            model, self.plain, folds, self.loss, seed=self.seed, stratify=self.classify
        )
        if references.PRIOR not in refit:
            return None
        n = len(self.table)
        return paired_difference(
            by_row(refit[references.PRIOR], n).held_out, by_row(shuffled, n).held_out,
            self.table.loss_weight,
        )  # fmt: skip

    def tail(
        self,
        fits: list[FoldFit],
        pool: dict[str, list[FoldFit]],
        measured: Measured,
        findings: Findings,
        decision: Decision,
    ) -> Tail | None:
        """Where few rows carry the loss: the verdict on absolute errors of the same fits."""
        if self.classify:
            return None
        carried = heavy_tail(by_row(fits, len(self.table)).held_out, self.table.loss_weight)
        other = robust_loss(self.aim, self.table)
        if carried.n_rows == 0 or not carried.heavy or other is None:
            return carried
        y, y_test = self.table.y, None if self.test is None else self.test.y
        again = self.compare(
            [rejudged(f, other, y, y_test) for f in fits],
            {name: [rejudged(f, other, y, y_test) for f in fs] for name, fs in pool.items()},
            other,
        )
        gaps = find(again, None, findings.diverged_share)
        verdict = decide(with_probes_of(findings, gaps)).verdict
        holds = verdict is decision.verdict
        self.notes.append(
            f"1 % of the rows carry {carried.share:.0%} of the loss; on {other.name} the verdict "
            + ("holds" if holds else f"is {verdict.value}")
        )
        told = replace(carried, verdict=verdict, holds=holds)
        logs = self.attempt("fitting the log target", lambda: self.on_log_target(findings))
        if logs is None:
            return told
        log_holds = logs is decision.verdict
        self.notes.append(
            "with everybody fitted to the log of the target the verdict "
            + ("holds" if log_holds else f"is {logs.value}: consider predicting the log")
        )
        return replace(told, log_verdict=logs, log_holds=log_holds)

    def on_log_target(self, findings: Findings) -> Verdict | None:
        """The verdict where estimator and references learn the log of a positive target.

        The probes' share of the training gap is taken over: it is about the network.
        """
        logs = log_targets(self.aim, self.table, self.test)
        if logs is None or self.budget == "quick" or self.subject.transforms_target:
            return None
        other = Run(
            self.subject, logs[0], logs[1], self.folds, self.aim, None, self.budget, self.seed,
            None, [],
        )  # fmt: skip
        fits = other.own_fits()
        measured = other.compare(fits, other.reference_fits(), other.loss)
        share = sum(f.failure is not None for f in fits) / len(fits)
        gaps = replace(
            find(measured, None, share), optimization_share=findings.optimization_share,
            optimization_share_stderr=findings.optimization_share_stderr,
        )  # fmt: skip
        return decide(gaps).verdict

    # --- evidence -------------------------------------------------------------------------------

    def evidence(
        self,
        fits: list[FoldFit],
        measured: Measured,
        probes: Probes | None,
        symptoms: Symptoms | None,
        brakes: Brakes | None,
        calibration: Estimate | None,
        moved: Mismatch | None,
        ordered: Estimate | None,
        tail: Tail | None,
        *,
        large: bool,
        more: Sequence[checks.Evidence] = (),
    ) -> pd.DataFrame:
        """All checks."""
        n, table, folds = measured.n_rows, self.table, self.folds
        n_test = 0 if self.test is None else len(self.test)
        diverged = sum(f.failure is not None for f in fits)
        y_test = self.test.y if self.test is not None and self.classify else None
        return checks.evidence_frame(
            [
                *checks.flow_checks(measured, n_test=n_test, fits=len(fits)),
                *checks.tail_checks(tail),
                checks.divergence_check(diverged, len(fits), n),
                checks.still_falling_check([f.loss_curve for f in fits], n, needed=large),
                *symptom_checks(symptoms),
                *checks.probe_checks(probes, measured.margin, needed=large),
                checks.brake_check(brakes, measured.margin),
                checks.half_check(brakes, measured.margin),
                checks.overconfidence_check(calibration, measured),
                *checks.class_checks(table.y, y_test),
                *shift_checks(moved, n_test),
                *split_checks.split_checks(folds, table, measured, classify=self.classify),
                split_checks.order_check(ordered, measured.margin, n),
                *more,
            ]
        )

    def overconfidence(self, fits: list[FoldFit], measured: Measured) -> Estimate | None:
        """Loss that a temperature takes away; None for numbers and for diverged fits."""
        if not self.classify or any(f.failure is not None for f in fits):
            return None
        within = bool(self.folds.inside)
        parts: list[Predicted] = [
            (f.inside, f.outputs["inside"], f.classes)
            if within
            else (f.test, f.outputs["test"], f.classes)
            for f in fits
            if not within or len(f.inside)
        ]
        tempered = tempered_losses(parts, self.table.y, self.table.loss_weight)
        if tempered is None:
            return None
        rows = by_row(fits, len(self.table))
        before = rows.inside if within else rows.held_out
        return paired_difference(before, tempered, self.table.loss_weight, self.table.clusters)
