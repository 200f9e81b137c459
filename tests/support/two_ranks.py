"""A step of each of two processes that share a model, on gloo; each writes its trace to a file (needs the torch extra)."""

import os
import socket
from functools import partial

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import accelsim as acs


def perceptron():
    """16 -> 32 -> 16."""
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))


def tensor_parallel(model, mesh):
    """The first layer divided by its outputs, the second by its inputs."""
    parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def sharded(model, mesh):
    """Each rank keeps half of every parameter, and gathers the other half to use it."""
    fully_shard(model, mesh=mesh)


WAYS = {"tensor_parallel": tensor_parallel, "sharded": sharded}


def _run(rank, port, way, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        model = perceptron()
        WAYS[way](model, init_device_mesh("cpu", (2,)))
        x = torch.randn(4, 16, requires_grad=True)
        step = partial(_step, model, x)
        step()
        acs.save_trace(acs.trace(step, model), f"{folder}/{rank}.json")
    finally:
        dist.destroy_process_group()


def _step(model, x):
    model(x).square().mean().backward()


def traces_of_both(way, folder):
    """Return the traces of the two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_run, (port, way, str(folder)), nprocs=2)
    return [acs.load_trace(folder / f"{rank}.json") for rank in range(2)]
