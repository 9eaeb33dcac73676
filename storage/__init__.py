"""Object store, ledger, inputs and DuckDB results; the only package that imports boto3's s3 or duckdb."""
