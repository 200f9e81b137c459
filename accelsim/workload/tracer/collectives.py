"""Messages between the ranks of a distributed step, as one rank sends them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from accelsim.workload.rules import Entry
from accelsim.workload.tracer.flow import Producers
from accelsim.workload.tracer.roles import tensors_in
from accelsim.workload.tracer.works import Call

__all__ = ["Message", "entries_of_messages", "message_of", "scattered_gradients"]

_OPERATIONS = {
    "allreduce": "all_reduce",
    "all_reduce": "all_reduce",
    "allgather": "all_gather",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
    "all_to_all": "all_to_all",
    "shard_dim_alltoall": "all_to_all",
    "broadcast": "broadcast",
    "reduce": "reduce",
    "gather": "gather",
    "scatter": "scatter",
    "send": "send",
    "recv": "receive",
}
"""What they are called here, by how their names begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One collective: what it does, bytes of the whole tensor, ranks that take part, and where it ran."""

    operation: str
    bytes: int
    group: int
    direction: Literal["FF", "BP"]
    module: str
    grows: bool
    sources: tuple[Producers, ...] = ()


def message_of(call: Call, *, in_backward: bool, module: str, grows: bool) -> Message | None:
    """Return the message that a call of a distributed library sends, or None where it only copies or waits."""
    names = sorted((name for name in _OPERATIONS if call.word.startswith(name)), key=len)
    if not names or call.word.endswith("copy_in") or call.word.endswith("copy_out"):
        return None
    parts = [*call.args, *call.kwargs.values(), call.results]
    size = max(sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(part)) for part in parts)
    direction: Literal["FF", "BP"] = "BP" if in_backward else "FF"
    return Message(
        operation=_OPERATIONS[names[-1]],
        bytes=size,
        group=_ranks(parts),
        direction=direction,
        module=module,
        grows=grows,
    )


def _ranks(parts: Sequence[Any]) -> int:
    """Return the size of the group among the arguments, which is an object or a name."""
    for part in reversed(parts):
        if isinstance(part, torch.ScriptObject) and "ProcessGroup" in str(part._type()):  # noqa: SLF001
            return int(torch.distributed.ProcessGroup.unbox(part).size())
        if isinstance(part, str):
            try:
                return int(torch.distributed.distributed_c10d._resolve_process_group(part).size())  # noqa: SLF001
            except (LookupError, RuntimeError, ValueError):  # the name of a reduction
                continue
    return int(torch.distributed.get_world_size())


def scattered_gradients(messages: Sequence[Message]) -> Iterator[str]:
    """Yield a note where a rank keeps a part of the gradients alone, as in a step of sharded parameters."""
    scattered = {message.group for message in messages
                 if message.operation == "reduce_scatter" and message.direction == "BP"}  # fmt: skip
    for group in sorted(scattered - {1}):
        yield (
            f"gradients are scattered over {group} ranks, each of which updates its part of the parameters; the update"
            " of the trace is that of all of them"
        )


def entries_of_messages(messages: Sequence[Message], batch: int) -> Iterator[Entry]:
    """Yield the entries of a trace; what grows with the batch is per sample where it divides by it."""
    for message in messages:
        grows = message.grows and message.bytes % batch == 0
        yield {
            "name": ".".join(part for part in (message.module, message.operation) if part),
            "kind": "collective",
            "operation": message.operation,
            "bytes": message.bytes // batch if grows else message.bytes,
            "group": message.group,
            "direction": message.direction,
            "scales_with_batch": grows,
            "input_gradient": False,
        }
