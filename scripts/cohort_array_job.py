"""A cohort where there is only `sbatch`: an array job, in which each task lets `mood-vae predict` work on a part.

    python scripts/cohort_array_job.py LIST OUT [--tasks N] [--cluster slurm|local] [--partition NAME] [--minutes M]
        [--gb GB] [--cpus N] [-- OPTIONS OF PREDICT]

LIST is a text file with the path of a scan a line, OUT a folder that all tasks share. The lists and reports of the
tasks, and submitit's logs, go to OUT-jobs. A task that Slurm stops or requeues goes on with --resume; run the same
line again for what is missing. In the end OUT/run.json says of all tasks what `predict` says of one. Exit status 1 if
cases failed, 2 for wrong use.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from mood_vae.errors import FolderError
from mood_vae.io import atomic, json_files
from mood_vae.io.remote import is_address
from mood_vae.io.scan_list import read_list


@dataclass
class Part:
    """A task of the array.

    Attributes:
        names: The list of its scans.
        out: As of `predict both`.
        options: Further options of `predict`.
    """

    names: Path
    out: Path
    options: list[str]

    @property
    def report(self) -> Path:
        """Where it says what it did."""
        return self.names.with_suffix(".json")

    def __call__(self) -> str:
        """Predict the part, and return the name of the machine."""
        from mood_vae.cli import main

        try:
            status = main(["predict", "both", str(self.names), str(self.out), "--report", str(self.report), "--resume",
                           *self.options], standalone_mode=False)  # fmt: skip
        except SystemExit as end:
            if end.code not in (0, 1, 2):  # submitit leaves so where it has requeued the task
                raise
            status = end.code
        if status not in (None, 0, 1):  # at 1 some cases failed; the report has them
            raise RuntimeError(f"mood-vae predict ended with status {status}; its log says why")
        return socket.gethostname()

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Let submitit requeue a task that Slurm stops: --resume does the rest."""
        return submitit.helpers.DelayedSubmission(self)


def merged(earlier: dict[str, Any], names: set[str], reports: list[dict[str, Any]], hosts: list[str]) -> dict[str, Any]:
    """Return one report of all tasks; of cases that were kept, what an earlier one says that knows them."""
    whole: dict[str, Any] = {"finished": all(report["finished"] for report in reports), "kept": [], "failures": {},
                             "healthy_scores": earlier.get("healthy_scores", [])}  # fmt: skip
    for key in ("cases", "workers"):
        whole[key] = {name: facts for name, facts in earlier.get(key, {}).items() if name in names}
    for number, (report, host) in enumerate(zip(reports, hosts, strict=True)):
        for key in ("cases", "failures"):
            whole[key] |= report[key]
        for name in set(report["failures"]) - set(report["cases"]):
            whole["cases"].pop(name, None)
        whole["kept"] += report["kept"]
        whole["healthy_scores"] = report["healthy_scores"] or whole["healthy_scores"]
        done = [*report["cases"], *report["failures"]]
        whole["workers"] |= {name: f"{number} on {host}" for name in done if name not in report["kept"]}
    return whole


def main() -> None:
    """Submit the tasks, wait for them, and gather their reports."""
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options_of_predict = sys.argv[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("out")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--cluster", choices=["slurm", "local"], default="slurm")
    parser.add_argument("--partition")
    parser.add_argument("--minutes", type=int, default=24 * 60)
    parser.add_argument("--gb", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=1)
    arguments = parser.parse_args(sys.argv[1:at])
    if is_address(arguments.out) or arguments.tasks < 1:
        parser.error("OUT must be a folder, no address, and --tasks at least 1")
    try:
        listed = read_list(arguments.list.absolute())
    except FolderError as error:
        parser.error(str(error))
    scans = [scan.label for scan in listed]
    out = Path(arguments.out).absolute()
    jobs = out.with_name(f"{out.name}-jobs")
    jobs.mkdir(parents=True, exist_ok=True)
    parts = []
    for number in range(min(arguments.tasks, len(scans))):
        names = jobs / f"part-{number:04}.txt"
        atomic.write_text(names, "\n".join(scans[number :: arguments.tasks]) + "\n")
        parts.append(Part(names, out, options_of_predict))
    executor = submitit.AutoExecutor(folder=jobs / "logs", cluster=arguments.cluster)
    executor.update_parameters(timeout_min=arguments.minutes, mem_gb=arguments.gb, cpus_per_task=arguments.cpus)
    if arguments.partition:
        executor.update_parameters(slurm_partition=arguments.partition)
    running = executor.submit_array(parts)
    print(f"{len(parts)} tasks, such as {running[0].job_id}; their logs are in {jobs / 'logs'}", flush=True)
    ends = {number: job.exception() for number, job in enumerate(running)}  # waits for each
    failed = {number: end for number, end in ends.items() if end is not None}
    for number, end in failed.items():
        print(f"task {number} failed: {str(end).strip().splitlines()[-1]}", file=sys.stderr)
    reports = [_report(part.report) for part in parts]
    hosts = ["?" if number in failed else job.result() for number, job in enumerate(running)]
    whole = merged(_report(out / "run.json"), {scan.file_name for scan in listed}, reports, hosts)
    whole["finished"] &= not failed
    out.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out / "run.json", json.dumps(whole, indent=2) + "\n")
    print(f"{len(whole['cases'])} cases predicted, {len(whole['failures'])} failed: {out / 'run.json'}")
    sys.exit(1 if whole["failures"] or failed else 0)


def _report(path: Path) -> dict[str, Any]:
    """Return a report of `predict`; one of nothing, not finished, where there is none."""
    nothing: dict[str, Any] = {"finished": False, "cases": {}, "kept": [], "failures": {}, "healthy_scores": [],
                               "workers": {}}  # fmt: skip
    if not path.is_file():
        return nothing
    return nothing | json_files.read(path, dict, expected="a report of predict", remedy="remove it and run again")


if __name__ == "__main__":
    main()
