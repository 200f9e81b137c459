"""What a step does besides forward and backward pass: products of the optimizer, messages between ranks; notes."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from accelsim.workload.names import counted, few, unique_names
from accelsim.workload.rules import Entry
from accelsim.workload.tracer.collectives import entries_of_messages
from accelsim.workload.tracer.records import Record, StepSeen, add_edges

__all__ = ["entries_beyond", "notes_of_entries", "settle_updates"]


def settle_updates(steps: Sequence[StepSeen]) -> None:
    """Leave out, by name, what the optimizer multiplies in steps that do not all multiply the same."""
    done = [[record.work.counts for record in step.updates] for step in steps]
    if any(one != done[0] for one in done):
        for step in steps:
            step.left_out["the optimizer, which differ between the steps,"] += sum(
                one.work.macs for one in step.updates
            )
            step.updates.clear()


def entries_beyond(
    step: StepSeen, batch: int, parameters: Mapping[str, Tensor], entries: Sequence[Entry], inputs: int
) -> list[Entry]:
    """Return the entries of products of the optimizer and of messages, with names that no other entry has.

    Products of the optimizer read each other, messages the `entries` and the `inputs` of the network.
    """
    sizes = {tensor.numel() for tensor in parameters.values()}
    found = [_update(record, batch, sizes) for record in step.updates]
    found += entries_of_messages(step.messages, batch)
    names = unique_names([str(entry["name"]) for entry in (*entries, *found)])
    named = [entry | {"name": name} for entry, name in zip(found, names[len(entries) :], strict=True)]
    split = len(step.updates)
    for record, entry in zip(step.updates, named[:split], strict=True):
        record.name = str(entry["name"])
    return [
        *add_edges(named[:split], [record.sources for record in step.updates], 0),
        *add_edges(named[split:], [message.sources for message in step.messages], inputs, names[: len(entries)]),
    ]


def _update(record: Record, batch: int, sizes: set[int]) -> Entry:
    """A product of the optimizer: once per step, unless it sums the gradients of single samples."""
    count, m, n, k = record.work.counts
    of_samples = k == batch > 1 and count == min(m, n) == 1 and max(m, n) in sizes
    grows = {"grows": ["k"]} if of_samples else {}
    return {
        "name": record.place,
        "kind": "matmul",
        "batch": count,
        "m": m,
        "n": n,
        "k": 1 if of_samples else k,
        **grows,
        "in_update": True,
        "scales_with_batch": of_samples,
        "input_gradient": False,
    }


def notes_of_entries(step: StepSeen, entries: Sequence[Entry], records: Sequence[Record]) -> Iterator[str]:
    """Yield what a reader of the entries should know."""
    if step.updates:
        macs, products = sum(record.work.macs for record in step.updates), counted(len(step.updates), "product")
        yield (
            f"the optimizer multiplies matrices ({products}, {macs:,} multiply-accumulates) in the update, once per"
            " step unless it sums gradients of single samples"
        )
    if uneven := [str(entry["name"]) for entry in entries if entry.get("samples", 1) != 1]:
        yield f"samples have different numbers of rows in {few(uneven)}: the rows are counted over several samples"
    if between := [str(entry["name"]) for entry in entries if "grows" in entry and not entry.get("in_update")]:
        yield f"samples are multiplied with each other in {few(between)}: rows, columns or reduction grow with it"
    flattened = {
        str(entry["name"]): seen.flattened
        for entry, record in zip(entries, records, strict=False)
        for seen in record.measured.values()
        if seen.flattened
    }
    for pattern in dict.fromkeys(flattened.values()):
        names = [name for name, own in flattened.items() if own == pattern]
        yield (
            f"{few(names)}: {pattern} along the flattened inputs and taps (Cin kh kw) of the kernel; groups run along"
            " the input channels here, and the pattern does not"
        )
