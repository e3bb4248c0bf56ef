"""How does a table, as it comes, become the matrix a network reads?"""

from sklearn_dl.tabular.checking import Table, check_table, table_dtype
from sklearn_dl.tabular.encoder import TabularEncoder

__all__ = ["Table", "TabularEncoder", "check_table", "table_dtype"]
