"""Points per CPU-second of a sweep by processes and by Dask workers: ``python tests/bench/efficiency.py -o reports/distributed``.

Every case runs by itself in a fresh process, which prints the CPU time of itself and of all processes that it started,
schedulers too. A sweep of one point per process is start-up; what the long sweep takes beyond it is what its points
take. Never more processes than cores.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = """
import json, resource, sys, time
from pathlib import Path
import accelsim as acs
from accelsim.sweep.cluster import cluster_executor

def spent():
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(part for kind in kinds for part in resource.getrusage(kind)[:2])

if __name__ == "__main__":
    way, processes, points, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    vary = {"array.rows": "8:64:8", "array.cols": "8:64:8", "dram.bandwidth_gb_per_s": f"0.1:{max(points // 64, 1) / 10}:0.1"}
    if points < 64:
        vary = {"dram.bandwidth_gb_per_s": f"1:{points}:1"}
    sweep, path, began = acs.make_sweep(["resnet50_imagenet"], vary=vary), Path(folder, "r.csv"), time.perf_counter()
    if way == "dask":
        from distributed import LocalCluster
        with LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
            with cluster_executor(cluster.scheduler_address, sweep.inputs, wait_s=60) as (executor, slots):
                while slots() < processes:
                    time.sleep(0.1)
                outcome = acs.run_sweep(sweep, path, executor=executor, jobs=slots)
    else:
        outcome = acs.run_sweep(sweep, path, jobs=processes)
    print(json.dumps([outcome.points, spent(), time.perf_counter() - began]))
"""


def measured(way: str, processes: int, points: int) -> tuple[int, float, float]:
    """Return points, CPU seconds and wall seconds of a sweep."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "run.py")
        script.write_text(RUN)
        command = [sys.executable, str(script), way, str(processes), str(points), folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    count, cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return count, cpu, wall


def table(points: int, most: int) -> list[dict[str, object]]:
    """Return a row for each way and number of processes."""
    rows: list[dict[str, object]] = []
    alone = 0.0
    for way, processes in (("processes", 1), ("processes", 2), ("processes", 4), ("dask", 1), ("dask", 2), ("dask", 4)):
        if processes > most:
            continue
        few, start_cpu, start_wall = measured(way, processes, processes)
        count, cpu, wall = measured(way, processes, points)
        rate = (count - few) / (cpu - start_cpu)
        alone = alone or rate
        rows.append(
            {
                "way": way, "processes": processes, "points": count, "points_per_cpu_s": round(rate, 1),
                "efficiency": round(rate / alone, 3), "points_per_s": round((count - few) / (wall - start_wall), 1),
                "start_up_cpu_s": round(start_cpu, 2), "start_up_share": round(start_cpu / cpu, 4),
            }
        )  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)  # noqa: T201  a script
    return rows


def write(folder: Path, rows: list[dict[str, object]], points: int, most: int) -> None:
    """Write the table, and a page that says how it was made."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "efficiency.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [f"| {' | '.join(map(str, row.values()))} |" for row in (dict(zip(rows[0], rows[0], strict=True)), *rows)]
    lines.insert(1, "|---|" + "---:|" * (len(rows[0]) - 1))
    command = f"python tests/bench/efficiency.py --points {points} -o reports/distributed"
    (folder / "README.md").write_text(
        "# Sweeps by processes and by Dask workers\n\n"
        f"Points of ResNet-50 (8 x 8 arrays, the rest bandwidths) per CPU-second on {most} cores, made by `{command}`.\n"
        "`efficiency` is over one process; start-up is apart from it, as a sweep of one point per process takes it.\n"
        f"No case has more processes than the {most} cores.\n\n" + "\n".join(lines) + "\n"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=250_000)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    most = len(os.sched_getaffinity(0))
    write(given.output, table(given.points, most), given.points, most)


if __name__ == "__main__":
    main()
