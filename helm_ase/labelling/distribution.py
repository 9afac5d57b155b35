"""Distribution of tasks to Dask workers, and collection of their results."""

import sys
import time
import uuid
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from typing import Any

from helm_ase.errors import HelmError
from helm_ase.labelling.cluster import ClusterSettings, dask_client
from helm_ase.labelling.sandbox import Limits, Outcome, close_sandboxes, label_in_sandbox
from helm_ase.labelling.stores import AnyLabelSettings
from helm_ase.labelling.structures import AnyStructure

LOOK_EVERY = 0.2
"""Seconds between checks for results; meanwhile every worker has another task waiting."""
FILL_EVERY = 5.0
"""Seconds between checks for new workers."""
PATIENCE = 60.0
"""Seconds without any worker after which a warning is printed."""


def distribute(
    tasks: Sequence[AnyStructure],
    cluster: ClusterSettings,
    settings: AnyLabelSettings,
    limits: Limits,
    model: str | None,
) -> Iterator[Outcome]:
    """Label structures on the workers of a cluster, in the order given.

    Workers may come and go: each has one task at work and one waiting.

    Raises
    ------
    HelmError
        If the scheduler is lost, or Dask fails in another way.
    """
    campaign = uuid.uuid4().hex  # campaigns that share a scheduler must not get each other's results
    try:
        with dask_client(cluster) as client:
            hand = _Hand(client, tasks, (campaign, settings, limits, model))
            yield from hand.outcomes()
            client.run(close_sandboxes, campaign, on_error="ignore")
    except HelmError:
        raise
    except (Exception, CancelledError) as error:  # Dask has many ways to say that its scheduler is gone
        raise HelmError(
            f"Dask gave up ({type(error).__name__}: {error}); all finished labels are safe: run the same "
            "command again"
        ) from error


class _Hand:
    """Bookkeeping of the tasks: waiting, running and finished."""

    def __init__(self, client: Any, tasks: Sequence[AnyStructure], terms: tuple[Any, ...]) -> None:
        from distributed import as_completed

        self.client, self.terms = client, terms
        self.waiting = iter(tasks)
        self.running: dict[str, AnyStructure] = {}
        self.queue = as_completed([], with_results=True, raise_errors=False)
        self.idle_since: float | None = time.monotonic()
        self.told = False

    def outcomes(self) -> Iterator[Outcome]:
        self.fill()
        filled = time.monotonic()
        while self.running:
            if self.queue.has_ready():
                for future, result in self.queue.next_batch(block=False):
                    yield self.take(future, result)
                self.fill()
            elif time.monotonic() - filled > FILL_EVERY:
                self.fill()
                filled = time.monotonic()
            else:
                time.sleep(LOOK_EVERY)

    def fill(self) -> None:
        """Hand out tasks until every worker has one waiting."""
        threads = sum(self.client.nthreads().values())
        self.warn_if_alone(threads)
        room = max(2 * threads, 2) - len(self.running)
        for _, structure in zip(range(room), self.waiting, strict=False):  # the range must end first
            campaign, *rest = self.terms
            key = f"label-{campaign}-{structure.key}"
            future = self.client.submit(label_in_sandbox, campaign, structure, *rest, key=key, retries=2)
            self.running[future.key] = structure
            self.queue.add(future)

    def take(self, future: Any, result: Any) -> Outcome:
        """Outcome of a finished task; a worker that was lost is not a fault of the molecule."""
        structure = self.running.pop(future.key)
        if future.cancelled() or future.status == "lost":
            raise HelmError(
                "the Dask scheduler was lost; all finished labels are safe: run the same command again"
            )
        future.release()
        if isinstance(result, Outcome):
            return result
        error = result[1] if isinstance(result, tuple) else result
        reason = f"the Dask worker was lost: {error!r}"
        return Outcome(structure.key, structure.name, 0.0, None, reason, lost=True)

    def warn_if_alone(self, threads: int) -> None:
        """Print a warning if there has been no worker for long."""
        now = time.monotonic()
        self.idle_since = None if threads else (self.idle_since or now)
        if self.idle_since and now - self.idle_since > PATIENCE and not self.told:
            print("helm-ase: still waiting for a Dask worker", file=sys.stderr)
            self.told = True
