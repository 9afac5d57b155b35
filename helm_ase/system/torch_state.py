"""Independence of global settings of torch: default type, default device and autocast."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from helm_ase.system.process_lock import ProcessLock

_DEFAULT_TYPE = ProcessLock()


@contextmanager
def own_torch_state(device: torch.device | str = "cpu") -> Iterator[None]:
    """Context in which torch has its initial global settings, whatever the process has set.

    New tensors are float32 and on the CPU, and nothing is rounded by autocast.  The default type is shared by
    all threads: if the process has changed it, only one thread at a time may be in this context.

    Parameters
    ----------
    device
        Where the work is done, of which autocast is switched off.
    """
    with ExitStack() as stack:
        for kind in {"cpu", torch.device(device).type} - {"meta"}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":  # the context costs a tenth of a small molecule's forces
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_default_type())
        yield


@contextmanager
def _default_type() -> Iterator[None]:
    with _DEFAULT_TYPE:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
