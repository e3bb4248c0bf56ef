"""How does a table, as it comes, become the matrix a network reads?"""

from sklearn_dl.tabular.checking import Table, check_table, table_dtype
from sklearn_dl.tabular.encoder import TabularEncoder
from sklearn_dl.tabular.images import (
    ImageEncoder,
    ImageShape,
    checked_shape,
    has_images,
    image_rows,
)
from sklearn_dl.tabular.large import LargeTable, is_large

__all__ = [
    "ImageEncoder",
    "ImageShape",
    "LargeTable",
    "Table",
    "TabularEncoder",
    "check_table",
    "checked_shape",
    "has_images",
    "image_rows",
    "is_large",
    "table_dtype",
]
