"""Kill an evaluation in the simulated cell at random moments, and see what is lost.

    python benchmarks/kill_evaluation.py --bundle runs/nano/bundle

A plan of 40 trials, two policies under code names, is run once undisturbed; then again and again from the
same sealed names, killed with SIGKILL at random moments and resumed until it is through. Each time the ledger
must hold every trial that it held before, and at the end the report must be the undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from dygro_ros.errors import run_main
from dygro_ros.evaluation.plan import EvaluationPlan, read_plan
from dygro_ros.evaluation.provenance import provenance
from dygro_ros.evaluation.record import LEDGER_FILE, open_record
from dygro_ros.evaluation.results import results

TRIALS_EACH, TASKS = 10, ("place_empty_cup", "beat_block_hammer")


def finished(folder: Path) -> list[int]:
    """Return the trials that the ledger's whole lines hold as finished."""
    lines = (folder / LEDGER_FILE).read_bytes().split(b"\n")[:-1]
    events = [json.loads(line) for line in lines]
    return [event["trial"] for event in events if event["event"] == "finished"]


def start(plan: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Run what is left of the plan, in a process of its own."""
    command = [sys.executable, "-m", "sim2real.evaluate_plan", str(plan), "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def shown(folder: Path, plan: EvaluationPlan) -> dict[str, Any]:
    """Return the report's results by name; what was broken off, and when, is another thing."""
    record = open_record(folder, plan, dict)
    record.look("names", "")
    found = results(record)
    record.close()
    del found["record"]
    return found


def main() -> int:
    """Run the benchmark; return 1 where anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    values = {
        "title": "Killed",
        "robot": "sim",
        "trials": TRIALS_EACH,
        "countdown_s": 0,
        "policies": {
            "whole": {"bundle": str(options.bundle.resolve())},
            "base": {"bundle": str(options.bundle.resolve()), "residual": False},
        },
        "tasks": {task: {"time_limit_s": 30} for task in TASKS},
        "simulation": {},
    }
    moments, lost, names_seen, kills, runs = random.Random(options.seed), 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "plan.yaml"
        path.write_text(yaml.safe_dump(values))
        plan = read_plan(path)
        begun, whole = Path(scratch) / "begun", Path(scratch) / "whole"
        open_record(begun, plan, lambda: provenance(plan)).close()
        shutil.copytree(begun, whole)
        begun_s = time.monotonic()
        if start(path, whole).wait():
            return 1
        duration_s = time.monotonic() - begun_s
        wanted = shown(whole, plan)
        print(f"undisturbed: {len(finished(whole))} trials in {duration_s:.1f} s", flush=True)
        while kills < options.kills:
            folder = Path(scratch) / f"run{runs}"
            runs += 1
            shutil.copytree(begun, folder)
            before: list[int] = []
            while True:
                process = start(path, folder)
                try:
                    code = process.wait(moments.uniform(0.0, duration_s) if kills < options.kills else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
                    after = finished(folder)
                    lost += after[: len(before)] != before
                    lost += after != list(range(1, len(after) + 1))
                    said = (folder / LEDGER_FILE).read_text().split("\n", 1)[1]
                    names_seen += any(name in said for name in values["policies"])  # type: ignore[attr-defined]
                    before = after
                    continue
                lost += code != 0 or shown(folder, plan) != wanted
                break
    print(f"{kills} kills in {runs} runs of the plan: {lost} times something was lost or another report")
    print(f"{names_seen} times a policy's name stood in the ledger's trials")
    return 1 if lost or names_seen else 0


if __name__ == "__main__":
    run_main(main)
