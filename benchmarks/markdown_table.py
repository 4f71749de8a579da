"""Tables of reports."""

import pandas as pd


def markdown(table, formats):
    """A Markdown table; ``formats`` maps a column to its format, '.1f' otherwise; a missing value is a dash."""
    index = list(table.index.names)
    lines = [
        " | ".join([*map(str, index), *map(str, table.columns)]),
        " | ".join(["---"] * len(index) + ["---:"] * table.shape[1]),
    ]
    for key, row in table.iterrows():
        key = key if isinstance(key, tuple) else (key,)
        cells = ("-" if pd.isna(v) else format(v, formats.get(c, ".1f")) for c, v in row.items())
        lines.append(" | ".join([*map(str, key), *cells]))
    return "\n".join(f"| {line} |" for line in lines)
