"""Sweeps on other machines, by a Dask scheduler (extra ``dask``)."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from importlib.util import find_spec

from accelsim.base.errors import InputError, to_install

__all__ = ["cluster_executor"]

_PATIENCE_S = 10


@contextlib.contextmanager
def cluster_executor(address: str) -> Iterator[tuple[Executor, int]]:
    """Connect to the Dask scheduler at `address`; yield an executor, and how many tasks run at once.

    The scheduler gives the points of a worker that is lost to others. Raises `InputError` where nothing answers at
    `address`, and where no worker is connected.
    """
    if find_spec("distributed") is None:
        raise InputError(f"--dask needs Dask: {to_install('dask')}")
    from distributed import Client  # noqa: PLC0415  an extra

    try:
        client = Client(address, timeout=_PATIENCE_S, set_as_default=False)
    except ValueError:
        raise InputError(f"--dask {address}: no address of a scheduler, as in tcp://10.0.0.1:8786") from None
    except OSError:
        raise InputError(f"--dask {address}: no scheduler answers there within {_PATIENCE_S} s") from None
    with client:
        tasks = sum(client.nthreads().values())
        if not tasks:
            raise InputError(f"--dask {address}: the scheduler has no workers")
        yield client.get_executor(pure=False), tasks
