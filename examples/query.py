"""A one-line DuckDB shell for machines that have none: python -m examples.query FILE SQL."""

import sys

import duckdb


def main() -> None:
    """Print what the query returns, reading only."""
    path, query = sys.argv[1:3]
    with duckdb.connect(path, read_only=True) as connection:
        connection.sql(query).show(max_width=160)


if __name__ == "__main__":
    main()
