"""The benchmarks run; what they measure is nobody's to judge here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_race_is_run_and_its_results_are_kept(tmp_path: Path):
    words = ["-m", "benchmarks.race", "--requests", "100", "--runs", "1", "--results", str(tmp_path)]
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "100 short requests" in ended.stdout
    [results] = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    steps = results["courses"]["100 short requests"]
    assert {"pack", "collect"} <= steps["floor"].keys() & steps["batchjobs"].keys()
