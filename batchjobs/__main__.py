"""`python -m batchjobs` is the command line."""

from batchjobs.cli import main

main()
