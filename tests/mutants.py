"""Would a test notice? A seeded sample of small mistakes in the files that spend money, each made in a scratch copy.

    python -m tests.mutants --count 60 --seed 1      (cosmic-ray in .venv-mutants: `make mutants`)

Prints every mistake that no test noticed, and one line of JSON. Left out are the kinds that say nothing: another
operator in a type such as `str | None`, and `is` for `==`.
"""

import argparse
import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COSMIC_RAY = ROOT / ".venv-mutants/bin/cosmic-ray"
FILES = ("batchjobs/decide.py", "batchjobs/send.py", "batchjobs/shards.py", "batchjobs/accept.py", "storage/ledger.py")
TESTS = (  # the quickest first: the first that fails ends it
    "tests/core/test_send_decisions.py", "tests/core/test_shards.py", "tests/storage/test_ledger.py",
    "tests/simulation/test_found.py", "tests/core/test_accept.py", "tests/core/test_interventions.py",
    "tests/core/test_bedrock_night.py",
)  # fmt: skip
WRONG = re.compile(
    r"core/(AddNot|ExceptionReplacer|NumberReplacer|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceTrueWithFalse"
    r"|ReplaceFalseWithTrue|ReplaceContinueWithBreak|ZeroIterationForLoop|RemoveDecorator|ReplaceUnaryOperator_Delete_Not"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul)"
    r"|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Lt_GtE|Gt_LtE))"
)
SECONDS_MAX = 240.0


def scratch(folder: Path) -> Path:
    """A copy of what is under version control, where a file may be spoilt."""
    copy = folder / "copy"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in names.decode().split("\0")[:-1]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for name in (".venv", ".venv-s3"):
        (copy / name).symlink_to(ROOT / name)
    return copy


def configured(folder: Path) -> Path:
    options = "-q -x -p no:randomly -p no:cacheprovider -k 'not anthropic'"
    tests = f"{ROOT / '.venv/bin/python'} -m pytest {options} {' '.join(TESTS)}"
    path = folder / "cosmic-ray.toml"
    path.write_text(
        f"[cosmic-ray]\nmodule-path = {json.dumps(FILES)}\ntimeout = {SECONDS_MAX}\nexcluded-modules = []\n"
        f"test-command = {json.dumps(tests)}\n[cosmic-ray.distributor]\nname = 'local'\n"
    )
    return path


def sample(session: Path, count: int, seed: int) -> int:
    """Leave so many mistakes in the session, drawn from those that say something; how many there are of these."""
    with closing(sqlite3.connect(session)) as rows, rows:
        named = rows.execute(
            "SELECT job_id, operator_name FROM mutation_specs"
            " ORDER BY module_path, start_pos_row, start_pos_col, operator_name, occurrence"
        ).fetchall()
        telling = [job for job, operator in named if WRONG.fullmatch(operator)]
        chosen = set(random.Random(seed).sample(telling, min(count, len(telling))))
        others = [(job,) for job, _ in named if job not in chosen]
        for table in ("mutation_specs", "work_items"):
            rows.executemany(f"DELETE FROM {table} WHERE job_id = ?", others)
    return len(telling)


def results(session: Path) -> list[dict[str, Any]]:
    """What was changed, where, and what the tests said."""
    query = """
        SELECT module_path AS file, start_pos_row AS line, operator_name AS kind, test_outcome AS outcome, diff
        FROM work_results JOIN mutation_specs USING (job_id) ORDER BY file, line"""
    with closing(sqlite3.connect(session)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def run(count: int, seed: int) -> tuple[list[dict[str, Any]], int]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy, config, session = scratch(folder), configured(folder), folder / "session.sqlite"
        subprocess.run([COSMIC_RAY, "init", config, session], cwd=copy, check=True)
        possible = sample(session, count, seed)
        subprocess.run([COSMIC_RAY, "exec", config, session], cwd=copy, check=True)
        return results(session), possible


def survivors(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["outcome"] == "SURVIVED"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found, possible = run(asked.count, asked.seed)
    for one in survivors(found):
        sys.stdout.write(f"not noticed: {one['file']}:{one['line']} {one['kind']}\n{one['diff']}\n")
    report = {"tried": len(found), "of": possible, "noticed": len(found) - len(survivors(found)), "seed": asked.seed}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
