"""Attention and recurrent layers of ONNX, opened into the products and the vector work that they consist of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from accelsim.workload.importers._onnx_layout import contiguous, in_order_of, reshaped
from accelsim.workload.importers._onnx_walk import Call, Producers, Value, Weight, Work
from accelsim.workload.importers._onnx_works import linear, used, weight_of
from accelsim.workload.rules import Role, Source

__all__ = ["attention", "linear_attention", "recurrent"]


def _step(kind: str, word: str, reads: int, writes: int, *of: Producers) -> Work:
    return Work(kind=kind, word=word, counts=(reads, writes), reads=of)


def _wrote(work: Work) -> Producers:
    return (work.result,)


def attention(call: Call) -> list[Work]:
    """Scaled queries and keys, their product, the mask, softmax, and the product with the values."""
    heads = call.attribute("q_num_heads", 0), call.attribute("kv_num_heads", 0), call.attribute("kv_num_heads", 0)
    query, key, value = (_by_heads(call, call.needed(position), count) for position, count in enumerate(heads))
    (samples, outer, rows, width), keys, values = query.shape, key.shape, value.shape
    works, positions = [], keys[2]
    of_key, of_value = key.producers, value.producers
    for word, past, new in (("past_key", call.operand(4), keys), ("past_value", call.operand(5), values)):
        if past is not None:
            joined = prod((*new[:2], new[2] + past.shape[2], new[3]))
            is_key = word == "past_key"
            works.append(_step("copy", word, joined, joined, past.producers, of_key if is_key else of_value))
            of_key, of_value = (_wrote(works[-1]), of_value) if is_key else (of_key, _wrote(works[-1]))
            positions = new[2] + past.shape[2]
    call.made.update({1: of_key, 2: of_value})
    scores = samples * outer * rows * positions
    sizes = samples * outer * rows * width, prod((*keys[:2], positions, width))
    scaled = [
        _step("multiply", "mul", size, size, of) for size, of in zip(sizes, (query.producers, of_key), strict=True)
    ]
    copies = [_as_stack(factor, _wrote(work)) for factor, work in zip((query, key), scaled, strict=True)]
    factors = [_wrote((copy or [work])[-1]) for copy, work in zip(copies, scaled, strict=True)]
    works += [*scaled, *copies[0], *copies[1]]
    works.append(_of_heads((samples * outer, rows, positions, width), query.gradient, key.gradient, *factors))
    if call.attribute("softcap", 0.0):
        for kind, word in (("multiply", "div"), ("activation", "tanh"), ("multiply", "mul")):
            works.append(_step(kind, word, scores, scores, _wrote(works[-1])))
    mask = call.operand(3)
    if mask is not None or call.attribute("is_causal", 0):
        per_sample = mask.in_memory if mask is not None and mask.role is Role.ACTIVATION else 0
        masks = mask.producers if mask is not None else ()
        works.append(_step("add", "add", scores + per_sample, scores, _wrote(works[-1]), masks))
    softmax = _step("softmax", "softmax", scores, scores, _wrote(works[-1]))
    works += [softmax, *(stacked := _as_stack(value, of_value))]
    scored = query.gradient or key.gradient
    of_value = _wrote(stacked[-1]) if stacked else of_value
    works.append(
        _of_heads((samples * outer, rows, values[3], positions), scored, value.gradient, _wrote(softmax), of_value)
    )
    result = contiguous((samples, outer, rows, values[3]))
    if len(call.result.shape) == 3 and reshaped((samples, rows, outer), [result[axis] for axis in (0, 2, 1)],
                                                (samples, rows * outer)) is None:  # fmt: skip
        size = prod(call.result.shape)
        works.append(_step("copy", "copy", size, size, _wrote(works[-1])))
    return works


def _by_heads(call: Call, operand: Value, heads: int) -> Value:
    """Return an operand as samples, heads, positions and width of a head."""
    if len(operand.shape) == 4:
        return operand
    if not heads:
        raise call.error("the number of its heads is missing")
    (samples, positions, width), (by_sample, by_position, by_element) = operand.shape, operand.strides
    width //= heads
    strides = (by_sample, by_element * width, by_position, by_element)
    return replace(operand, shape=(samples, heads, positions, width), strides=strides)


def _as_stack(factor: Value, of: Producers) -> list[Work]:
    """Return the copy that a factor, which `of` wrote, needs as a stack of matrices, one per sample and head."""
    samples, heads, *matrix = factor.shape
    if reshaped(factor.shape, in_order_of(factor.shape, factor.strides), (samples * heads, *matrix)) is not None:
        return []
    size = factor.elements
    return [Work(kind="copy", word="copy", counts=(size, size), input_gradient=factor.gradient, reads=(of,))]


def _of_heads(counts: tuple[int, int, int, int], left: bool, right: bool, *of: Producers) -> Work:
    return Work(
        kind="matmul", word="matmul", counts=counts, input_gradient=left or right, gradients=(left, right), reads=of
    )


_MOST_STEPS = 4096


def linear_attention(call: Call) -> list[Work]:
    """A state (keys x values) per head that each step adds to and reads: no scores, and no softmax.

    The state decays where the rule is gated, and loses what it holds under the new key where it is a delta rule.
    """
    query, key, value = (call.needed(position) for position in range(3))
    heads, shared = call.attribute("q_num_heads", 0), call.attribute("kv_num_heads", 0)
    rule = call.attribute("update_rule", "gated_delta")
    (samples, steps), width, depth = query.shape[:2], key.shape[2] // shared, value.shape[2] // shared
    if steps > _MOST_STEPS:
        raise call.error(f"has {steps} steps; they are listed one by one, and at most {_MOST_STEPS} can be")
    call.walk.note("steps", call.node.name or call.node.result)
    states = samples * shared
    size, added = states * width * depth, states * depth
    gates, rates = call.operand(4), call.operand(5)
    gate, rate = (value.in_memory // steps if value else 0 for value in (gates, rates))
    first = call.operand(3)
    state = first.producers if first else ()
    works: list[Work] = []
    read: list[Producers] = []
    for _ in range(steps):
        if "gated" in rule:
            works.append(_step("multiply", "decay", size + gate, size, state, gates.producers if gates else ()))
            state = _wrote(works[-1])
        new = value.producers
        if "delta" in rule:
            works.append(_of_heads((states, 1, depth, width), key.gradient, True, key.producers, state))
            works.append(_step("add", "sub", 2 * added, added, new, _wrote(works[-1])))
            scale = rates.producers if rates else ()
            works.append(_step("multiply", "mul", added + rate, added, _wrote(works[-1]), scale))
            new = _wrote(works[-1])
        works.append(_of_heads((states, width, depth, 1), key.gradient, True, key.producers, new))
        works.append(_step("add", "add", 2 * size, size, state, _wrote(works[-1])))
        state = _wrote(works[-1])
        works.append(_of_heads((samples * heads, 1, depth, width), query.gradient, True, query.producers, state))
        read.append(_wrote(works[-1]))
    call.made[1] = state
    written = samples * steps * heads * depth
    return [*works, _step("multiply", "scale", written, written, *read)]


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(call: Call) -> list[Work]:
    """The products with the inputs of all steps at once, then step by step the product with the state and the gates."""
    x, weights, states, bias = call.needed(0), call.needed(1), call.needed(2), call.operand(3)
    if weights.source is None or states.source is None:
        raise call.error("its weights are not stored in the file; only stored ones can be read")
    if call.operand(7) is not None or call.attribute("input_forget", 0):
        raise call.error("has peepholes or coupled gates; a trace has no entry for them")
    steps, samples = (x.shape[1], x.shape[0]) if call.attribute("layout", 0) else x.shape[:2]
    if steps > _MOST_STEPS:
        raise call.error(f"has {steps} steps; they are listed one by one, and at most {_MOST_STEPS} can be")
    hidden, outputs = states.shape[2], _GATES[call.node.operator] * states.shape[2]
    names = used(call, bias, "bias") if bias is not None and bias.source else []
    initial = call.operand(5)
    started = initial is not None and initial.gradient
    depends = x.role is Role.ACTIVATION
    states_before = [value.producers if value else () for value in (initial, call.operand(6))]
    works: list[Work] = []
    written: list[Producers] = []
    last: list[tuple[Producers, Producers]] = []
    for direction in range(weights.shape[0]):
        weight = _of_direction(call, weights, direction, (0, outputs), "weight_ih")
        entered = linear(
            weight, x.shape[2], outputs, steps * samples,
            depends=depends, input_gradient=x.gradient, reads=x.producers, parameters=names,
        )  # fmt: skip
        works.append(entered)
        first, later = (
            _recurrent_step(call, states, direction, hidden, samples, gradient=has) for has in (started, True)
        )
        state, cell = states_before
        for number in range(steps):
            wiring = _WIRING[call.node.operator, _resets_early(call)]
            step = _wired(first if number == 0 else later, wiring, {"x": _wrote(entered), "h": state, "c": cell})
            works += step
            state = _wrote(step[-1])
            cell = _wrote(step[_CELL]) if call.node.operator == "LSTM" else ()
            written.append(state)
        last.append((state, cell))
    for place, kept in enumerate(zip(*last, strict=True), 1):
        call.made[place] = tuple(one for producers in kept for one in producers)
    size = weights.shape[0] * steps * samples * hidden
    return [*works, _step("copy", "stack", size, size, *written)] if call.results[0] else works


_WIRING: dict[tuple[str, bool], tuple[tuple[int | str, ...], ...]] = {
    ("LSTM", False): (("h",), (0, "x"), (1,), (1,), (1,), (1,), (3, "c"), (2, 4), (6, 7), (8,), (5, 9)),
    ("RNN", False): (("h",), (0, "x"), (1,)),
    ("GRU", False): (
        ("h",), (0, "x"), (1,), (0, "x"), (3,), (2, 0), (5, "x"), (6,), ("h", 7), (4, 8), (7, 9),
    ),
    ("GRU", True): (
        ("h",), (0, "x"), (1,), (0, "x"), (3,), (2, "h"), (5,), (6, "x"), (7,), ("h", 8), (4, 9), (8, 10),
    ),
}  # fmt: skip
"""What each piece of work of a step reads: earlier ones by their place, the product with the inputs x, state h, cell c.
A GRU resets the state before its product or, if not, the product."""

_CELL = 8  # the place of the new cell in a step of an LSTM


def _wired(works: Sequence[Work], wiring: Sequence[Sequence[int | str]], given: Mapping[str, Producers]) -> list[Work]:
    """Return the work of a step anew, each piece reading what `wiring` says."""
    made: list[Work] = []
    for work, places in zip(works, wiring, strict=True):
        made.append(work.again(*(_wrote(made[at]) if isinstance(at, int) else given[at] for at in places)))
    return made


def _recurrent_step(
    call: Call, states: Value, direction: int, hidden: int, samples: int, *, gradient: bool
) -> list[Work]:
    """One step of one direction. A GRU resets the state before its product, or the product (linear_before_reset)."""
    size = samples * hidden
    operator, early = call.node.operator, _resets_early(call)
    rows = [(0, 2 * hidden), (2 * hidden, 3 * hidden)] if early else [(0, _GATES[operator] * hidden)]
    products = [
        linear(
            _of_direction(call, states, direction, part, "weight_hh"), hidden, part[1] - part[0], samples,
            depends=True, input_gradient=gradient, reads=(),
        )
        for part in rows
    ]  # fmt: skip
    gate = [("add", "add", 2), ("activation", "sigmoid", 1)]
    new = [("add", "add", 2), ("activation", "tanh", 1)]
    mix = [("add", "sub", 2), ("multiply", "mul", 2), ("add", "add", 2)]
    reset = [("multiply", "mul", 2)]
    if operator == "LSTM":
        total = [_step("add", "add", 8 * size, 4 * size)]
        gates = [("activation", word, 1) for word in ("sigmoid", "sigmoid", "tanh", "sigmoid")]
        cell = [("multiply", "mul", 2), ("multiply", "mul", 2), ("add", "add", 2)]
        return [*products, *total, *_steps([*gates, *cell, ("activation", "tanh", 1), *reset], size)]
    if operator == "RNN":
        return [*products, *_steps(new, size)]
    if early:
        return [products[0], *_steps([*gate, *gate, *reset], size), products[1], *_steps(new + mix, size)]
    return [*products, *_steps([*gate, *gate, *reset, *new, *mix], size)]


def _resets_early(call: Call) -> bool:
    """Whether a GRU resets the state before its product."""
    return call.node.operator == "GRU" and not call.attribute("linear_before_reset", 0)


def _steps(words: list[tuple[str, str, int]], size: int) -> list[Work]:
    return [_step(kind, word, operands * size, size) for kind, word, operands in words]


def _of_direction(call: Call, value: Value, direction: int, rows: tuple[int, int], leaf: str) -> Weight:
    """Return rows of one direction of a stack of weights, (directions, outputs, inputs), as a weight."""
    source, content = value.source, value.content
    assert source is not None
    directions, outputs, inputs = value.shape
    whole = rows == (0, outputs)
    part = None
    if directions > 1 or not whole:
        label = f"{source.label}[{direction}]" if whole else f"{source.label}[{direction},{rows[0]}:{rows[1]}]"
        part = Source(label=label, elements=(rows[1] - rows[0]) * inputs, parameters=source.parameters)
    held = Value(
        shape=(rows[1] - rows[0], inputs), role=Role.PARAMETER, strides=(inputs, 1),
        source=part or source, content=content,
    )  # fmt: skip
    return weight_of(call, held, lambda array: array[direction, rows[0] : rows[1]].T[None], leaf)
