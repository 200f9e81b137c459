"""Attention and recurrent layers of ONNX, opened into the products and the vector work that they consist of."""

from dataclasses import replace
from math import prod

from accelsim.workload.importers._onnx_layout import contiguous, in_order_of, reshaped
from accelsim.workload.importers._onnx_walk import Call, Role, Source, Value, Weight, Work
from accelsim.workload.importers._onnx_works import linear, used, weight_of

__all__ = ["attention", "linear_attention", "recurrent"]


def _step(call: Call, kind: str, word: str, reads: int, writes: int, *, depends: bool = True) -> Work:
    return Work(kind=kind, word=word, counts=(reads, writes), depends=depends)


def attention(call: Call) -> list[Work]:
    """Scaled queries and keys, their product, the mask, softmax, and the product with the values."""
    heads = call.attribute("q_num_heads", 0), call.attribute("kv_num_heads", 0), call.attribute("kv_num_heads", 0)
    query, key, value = (_by_heads(call, call.needed(position), count) for position, count in enumerate(heads))
    (samples, outer, rows, width), keys, values = query.shape, key.shape, value.shape
    works, positions = [], keys[2]
    for word, past, new in (("past_key", call.operand(4), keys), ("past_value", call.operand(5), values)):
        if past is not None:
            joined = prod((*new[:2], new[2] + past.shape[2], new[3]))
            works.append(_step(call, "copy", word, joined, joined))
            positions = new[2] + past.shape[2]
    scores = samples * outer * rows * positions
    scaled = samples * outer * rows * width, prod((*keys[:2], positions, width))
    works += [_step(call, "multiply", "mul", size, size) for size in scaled]
    works += [copy for factor in (query, key) for copy in _as_stack(factor)]
    works.append(_of_heads((samples * outer, rows, positions, width), query.gradient, key.gradient))
    if call.attribute("softcap", 0.0):
        cap = (("multiply", "div"), ("activation", "tanh"), ("multiply", "mul"))
        works += [_step(call, kind, word, scores, scores) for kind, word in cap]
    mask = call.operand(3)
    if mask is not None or call.attribute("is_causal", 0):
        per_sample = mask.in_memory if mask is not None and mask.role is Role.ACTIVATION else 0
        works.append(_step(call, "add", "add", scores + per_sample, scores))
    works.append(_step(call, "softmax", "softmax", scores, scores))
    works += _as_stack(value)
    scored = query.gradient or key.gradient
    works.append(_of_heads((samples * outer, rows, values[3], positions), scored, value.gradient))
    result = contiguous((samples, outer, rows, values[3]))
    if len(call.result.shape) == 3 and reshaped((samples, rows, outer), [result[axis] for axis in (0, 2, 1)],
                                                (samples, rows * outer)) is None:  # fmt: skip
        size = prod(call.result.shape)
        works.append(_step(call, "copy", "copy", size, size))
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


def _as_stack(factor: Value) -> list[Work]:
    """Return the copy that a factor needs as a stack of matrices, one per sample and head."""
    samples, heads, *matrix = factor.shape
    if reshaped(factor.shape, in_order_of(factor.shape, factor.strides), (samples * heads, *matrix)) is not None:
        return []
    return [Work(kind="copy", word="copy", counts=(factor.elements, factor.elements), input_gradient=factor.gradient)]


def _of_heads(counts: tuple[int, int, int, int], left: bool, right: bool) -> Work:
    return Work(kind="matmul", word="matmul", counts=counts, input_gradient=left or right, gradients=(left, right))


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
    gate, rate = (value.in_memory // steps if value else 0 for value in (call.operand(4), call.operand(5)))
    decay = [_step(call, "multiply", "decay", size + gate, size)]
    recalled = [
        _of_heads((states, 1, depth, width), key.gradient, True),
        _step(call, "add", "sub", 2 * added, added),
        _step(call, "multiply", "mul", added + rate, added),
    ]
    update = [_of_heads((states, width, depth, 1), key.gradient, True), _step(call, "add", "add", 2 * size, size)]
    read = [_of_heads((samples * heads, 1, depth, width), query.gradient, True)]
    each = [*(decay if "gated" in rule else []), *(recalled if "delta" in rule else []), *update, *read]
    written = samples * steps * heads * depth
    return [*each * steps, _step(call, "multiply", "scale", written, written)]


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
    works = []
    for direction in range(weights.shape[0]):
        weight = _of_direction(call, weights, direction, (0, outputs), "weight_ih")
        works.append(
            linear(
                call, weight, x.shape[2], outputs, steps * samples,
                depends=depends, input_gradient=x.gradient, parameters=names,
            )
        )  # fmt: skip
        first, later = (
            _recurrent_step(call, states, direction, hidden, samples, gradient=has) for has in (started, True)
        )
        works += first + later * (steps - 1)
    size = weights.shape[0] * steps * samples * hidden
    return [*works, _step(call, "copy", "stack", size, size)] if call.results[0] else works


def _recurrent_step(
    call: Call, states: Value, direction: int, hidden: int, samples: int, *, gradient: bool
) -> list[Work]:
    """One step of one direction. A GRU resets the state before its product, or the product (linear_before_reset)."""
    size = samples * hidden
    operator = call.node.operator
    early = operator == "GRU" and not call.attribute("linear_before_reset", 0)
    rows = [(0, 2 * hidden), (2 * hidden, 3 * hidden)] if early else [(0, _GATES[operator] * hidden)]
    products = [
        linear(
            call, _of_direction(call, states, direction, part, "weight_hh"), hidden, part[1] - part[0], samples,
            depends=True, input_gradient=gradient,
        )
        for part in rows
    ]  # fmt: skip
    gate = [("add", "add", 2), ("activation", "sigmoid", 1)]
    new = [("add", "add", 2), ("activation", "tanh", 1)]
    mix = [("add", "sub", 2), ("multiply", "mul", 2), ("add", "add", 2)]
    reset = [("multiply", "mul", 2)]
    if operator == "LSTM":
        total = [_step(call, "add", "add", 8 * size, 4 * size)]
        gates = [("activation", word, 1) for word in ("sigmoid", "sigmoid", "tanh", "sigmoid")]
        cell = [("multiply", "mul", 2), ("multiply", "mul", 2), ("add", "add", 2)]
        return [*products, *total, *_steps(call, [*gates, *cell, ("activation", "tanh", 1), *reset], size)]
    if operator == "RNN":
        return [*products, *_steps(call, new, size)]
    if early:
        return [products[0], *_steps(call, [*gate, *gate, *reset], size), products[1], *_steps(call, new + mix, size)]
    return [*products, *_steps(call, [*gate, *gate, *reset, *new, *mix], size)]


def _steps(call: Call, words: list[tuple[str, str, int]], size: int) -> list[Work]:
    return [_step(call, kind, word, operands * size, size) for kind, word, operands in words]


def _of_direction(call: Call, value: Value, direction: int, rows: tuple[int, int], leaf: str) -> Weight:
    """Return rows of one direction of a stack of weights, (directions, outputs, inputs), as a weight."""
    source, content = value.source, value.content
    assert source is not None
    directions, outputs, inputs = value.shape
    whole = rows == (0, outputs)
    part = None
    if directions > 1 or not whole:
        label = f"{source.label}[{direction}]" if whole else f"{source.label}[{direction},{rows[0]}:{rows[1]}]"
        part = Source(label=label, elements=(rows[1] - rows[0]) * inputs, tensors=source.tensors)
    held = Value(
        shape=(rows[1] - rows[0], inputs), role=Role.PARAMETER, strides=(inputs, 1),
        source=part or source, content=content,
    )  # fmt: skip
    return weight_of(call, held, lambda array: array[direction, rows[0] : rows[1]].T[None], leaf)
