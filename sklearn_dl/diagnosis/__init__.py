"""Why an estimator is not good enough, how much each cause costs, and what to change.

Measurements (`fitting`, `references`, `probes`) become a `ledger` and `checks`; the `rules` decide
on these alone; `remedies` advise.
"""

from sklearn_dl.diagnosis.bias_variance import bias_variance
from sklearn_dl.diagnosis.more_rows import MoreRows, more_rows
from sklearn_dl.diagnosis.remedies import Gain, Remedy
from sklearn_dl.diagnosis.result import Diagnosis
from sklearn_dl.diagnosis.rules import Verdict
from sklearn_dl.diagnosis.study import diagnose

__all__ = ["Diagnosis", "Gain", "MoreRows", "Remedy", "Verdict", "bias_variance", "diagnose"]
__all__ += ["more_rows"]
