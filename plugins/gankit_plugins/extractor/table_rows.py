"""Feature extractor for the rows of a table."""

from __future__ import annotations

from torch import Tensor

from gankit import Dataset, Extractor, Features, Plugin, hookimpl
from gankit_plugins.layers.table_columns import columns_of, row_features


class TableRowFeatures(Plugin):
    """Standardised numbers and one-hot words of table rows, as features.

    Two rows that differ in one word have the distance 1, and so have two rows of which one number differs by a standard
    deviation. The metrics `memorisation`, `precision_recall` and `density_coverage` use these distances.

    Source: none.

    When to use: for tables.
    When not: for other data.
    """

    name = "table_rows"
    kind = "extractor"

    @hookimpl
    def build_extractor(self, dataset: Dataset) -> Extractor:
        columns = columns_of(dataset.encoding, self.name)

        def features(rows: Tensor) -> Features:
            return Features(row_features(rows, columns))

        return Extractor({"extractor": "table_rows", "resize": "none"}, features)
