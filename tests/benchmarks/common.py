"""What the benchmark scripts share: the machine's description, CPU timings, tables."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def one_thread() -> None:
    """Keep every library to one thread; call before importing any of them."""
    for name in THREADS:
        os.environ[name] = "1"


def machine() -> dict[str, str]:
    """Processor and versions that a figure depends on."""
    packages = {name: version(name) for name in ("torch", "pyscf", "numpy")}
    return {"processor": _processor(), "python": platform.python_version(), **packages}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor()


def cpu_times(
    work: Callable[[], Any], repeats: int = 5, budget: float = 20.0, warm: bool = True
) -> list[float]:
    """CPU seconds of this process for each of several runs; stops early once ``budget`` is spent."""
    if warm:
        work()
    times: list[float] = []
    while not times or (len(times) < repeats and sum(times) < budget):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return times


def timed(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[Any, float]:
    """Result of some work, and seconds of the clock: of the processor, unless another is named."""
    start = clock()
    result = work()
    return result, clock() - start


def best(times: Sequence[float]) -> float:
    """Smallest of several timings, in ms: what the work takes when nothing disturbs it."""
    return 1e3 * min(times)


def spread(times: Sequence[float]) -> str:
    """Minimum and median in ms, as text."""
    return f"{1e3 * min(times):.1f} / {1e3 * statistics.median(times):.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def header(title: str, **facts: Any) -> str:
    """Title and one line per fact."""
    return "\n".join(
        [f"## {title}", "", *(f"- {key.replace('_', ' ')}: {value}" for key, value in facts.items())]
    )
