"""Where a cohort becomes bound by its storage: workers that read, compute and write, and share one storage.

    python scripts/simulate_cohort.py [--compute SECONDS] [--read-mb MB] [--write-mb MB] [--link GBIT/S]

Without --compute it measures the processor seconds that detection takes in a sample brain, one thread. All transfers
under way share the storage's bandwidth evenly, none is faster than a worker's own link, and computing times vary by a
fifth. Prints a table: efficiency, that is cases a second as a share of what the workers would do with storage of no
limit, and cases an hour.
"""

from __future__ import annotations

import argparse
import heapq
import time
from pathlib import Path

import numpy as np

WORKERS = (1, 10, 30, 100, 300, 1000)
STORAGE_GBIT_S = (1, 10, 100)
CASES_A_WORKER = 20
MB_A_GBIT = 125.0


def measure_compute_s() -> float:
    """Return the processor seconds of one detection, model loaded, best of two."""
    import torch

    import mood_vae
    from mood_vae.io import volume_files

    detector = mood_vae.load_pretrained(device="cpu")
    torch.set_num_threads(1)
    volume = volume_files.read(Path(mood_vae.__file__).parent / "sample_data" / "00000.nii.gz")
    times = []
    for _ in range(2):
        began = time.process_time()
        detector.detect(volume)
        times.append(time.process_time() - began)
    return min(times)


def simulate(
    n_workers: int, *, storage_mb_s: float, link_mb_s: float, compute_s: float, read_mb: float, write_mb: float
) -> float:
    """Return cases a second, of `CASES_A_WORKER` times as many cases as workers."""
    rng = np.random.default_rng(0)
    total = n_workers * CASES_A_WORKER
    left = total - n_workers  # each begins with one
    now = sent_mb = 0.0  # sent_mb: what each transfer that was there from the start would have got by now
    transfers: list[tuple[float, int, bool]] = []  # (sent_mb at its end, worker, whether it writes)
    computing: list[tuple[float, int]] = []  # (time of its end, worker)
    for worker in range(n_workers):
        heapq.heappush(transfers, (read_mb * rng.uniform(0.8, 1.2), worker, False))
    while transfers or computing:
        rate = min(link_mb_s, storage_mb_s / max(1, len(transfers)))
        next_sent = now + (transfers[0][0] - sent_mb) / rate if transfers else np.inf
        next_computed = computing[0][0] if computing else np.inf
        then = min(next_sent, next_computed)
        sent_mb += (then - now) * rate
        now = then
        if next_computed <= next_sent:
            _, worker = heapq.heappop(computing)
            heapq.heappush(transfers, (sent_mb + write_mb, worker, True))
            continue
        _, worker, wrote = heapq.heappop(transfers)
        if not wrote:
            heapq.heappush(computing, (now + compute_s * rng.uniform(0.8, 1.2), worker))
        elif left:
            left -= 1
            heapq.heappush(transfers, (sent_mb + read_mb, worker, False))
    return total / now


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compute", type=float, help="seconds a case")
    parser.add_argument("--read-mb", type=float, default=10.0)
    parser.add_argument("--write-mb", type=float, default=11.6)
    parser.add_argument("--link", type=float, default=10.0, help="of each worker, Gbit/s")
    arguments = parser.parse_args()
    compute_s = arguments.compute or measure_compute_s()
    link_mb_s = arguments.link * MB_A_GBIT
    mb = arguments.read_mb + arguments.write_mb
    print(
        f"{compute_s:.2f} s of computing, {arguments.read_mb:g} MB read and {arguments.write_mb:g} MB written a case\n"
    )
    print("| workers | " + " | ".join(f"{gbit} Gbit/s" for gbit in STORAGE_GBIT_S) + " |")
    print("|---|" + "---|" * len(STORAGE_GBIT_S))
    for n in WORKERS:
        cells = []
        for gbit in STORAGE_GBIT_S:
            rates = [
                simulate(
                    n, storage_mb_s=storage, link_mb_s=link_mb_s, compute_s=compute_s,
                    read_mb=arguments.read_mb, write_mb=arguments.write_mb,
                )
                for storage in (gbit * MB_A_GBIT, np.inf)
            ]  # fmt: skip
            cells.append(f"{rates[0] / rates[1]:.2f}, {3600 * rates[0]:,.0f}/h")
        print(f"| {n} | " + " | ".join(cells) + " |")
    bound = [f"{gbit * MB_A_GBIT / mb * (compute_s + mb / link_mb_s):,.0f}" for gbit in STORAGE_GBIT_S]
    print("| bound by storage from | " + " | ".join(bound) + " |")


if __name__ == "__main__":
    main()
