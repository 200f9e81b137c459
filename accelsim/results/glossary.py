"""The words of results, said once: ``accelsim explain`` and the pages of reports show them from here."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from accelsim.base.errors import InputError, did_you_mean

__all__ = ["GLOSSARY", "Word", "explained", "words_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word with its `topic` and `meaning`; `forms` are patterns (whole matches) of what tables hold of it."""

    name: str
    topic: str
    meaning: str
    forms: tuple[str, ...] = ()


_SAID = {
    "stage": {
        "FF": "the forward pass: activations times weights",
        "BP": "the backward pass to the inputs: output gradients times weights",
        "WU": "the gradient of the weights: activations times output gradients; the update itself is UPDATE",
        "GENERATE": "SORE makes compact copies of sparse operands: the kept values with their positions",
        "UPDATE": "WUVE applies the optimizer to the weights",
        "VECTOR": "normalisation, activations, pooling and sums in the vector unit",
    },
    "bound": {
        "compute": "the task waits most for the unit that computes: the PE array, or SORE, WUVE or the vector unit",
        "dram": "the task waits most for DRAM; more bandwidth would help",
        "port": "the task waits most for the input width of the array's edge"
                " (array.row_port_elements_per_cycle, array.col_port_elements_per_cycle)",
        "drain": "the task waits most for results to leave an output-stationary tile: each column of PEs gives one"
                 " value per cycle, and with a short reduction that takes longer than computing them",
        "link": "the task waits most for messages between ranks",
    },
    "mapping": {
        "os": "output stationary: a PE keeps its outputs in accumulators while operands pass",
        "ws": "weight stationary: PEs hold weights while activations pass and partial sums move down",
        "is": "input stationary: PEs hold activations while weights pass and partial sums move down",
        "interleave": "Ia x Ib as in os 2x2, or Ia x Ib x Z as in os 2x2x2: a PE works on Ia x Ib outputs in turn, each"
                      " as Z partial sums, so that the adder's pipeline is full; Ia x Ib x Z accumulators are needed",
        "split": "ws and is with a pattern: the partial sums of a group leave a PE one by one",
        "chain": "ws and is with a pattern: a PE adds up the partial sums of a group, several outputs in turn,"
                 " before they leave",
        "flat": "ws with a pattern: every slot of a group has a PE row of its own",
        "tile": "what a buffer holds of m, n and k at a time; it is there twice, so that one is filled while the other"
                " is used",
        "loop order": "the loops over tiles, from the outermost: in mnk k changes fastest",
        "im2col": "what stands outermost along the side of an im2col operand that counts channels and kernel taps:"
                  " channels (in blocks as long as an N:M group along them), or taps; tiles that part the taps of a"
                  " channel load its pixels again",
    },
    "layer": {
        "m x n x k": "the product of a stage: a result of m x n, summed over k; for a convolution m counts positions"
                     " and samples, k inputs and taps (in WU the other way round)",
        "[phase 0,1]": "one of the products that a strided convolution falls into in BP (a transposed one in FF): the"
                       " positions of the result with these remainders by the stride, which the same taps reach",
        "[col2im]": "sums of what several taps give to the same place, in the vector unit: the product ran as columns",
        "[sum]": "gradients of a result that several operations read, added up in the vector unit; [sum 2] adds a"
                 " third",
        "[sum of parts]": "gradients of weights of one part of the batch, added to those of the parts before it",
        "[dA]": "the gradient of the left operand of a product of two activations, as in attention; [dB] of the right",
        "[run 1]": "a product that is computed again in the same step, as under checkpointing",
        "[FF copy]": "a compact copy of a weight for FF, or for BP, which SORE makes and the product reads",
        "[FF]": "work in the vector unit, in the forward pass; [BP] and [WU] in those passes",
        "(x12)": "so many equal products, as of groups or heads",
        "utilisation": "multiply-accumulates executed, over what the array could have done in these cycles",
        "share": "part of the time of the step",
    },
    "sparsity": {
        "N:M": "N of every M neighbours along the reduced axis are kept, as in 2:8; only these are multiplied",
        "dense": "every value is multiplied",
        "density": "share of values that are not zero, without groups; the array cannot skip those of no pattern",
    },
    "step": {
        "speedup": "time of the dense step on the same machine over the time of this one",
        "dense-equivalent": "two operations per multiply-accumulate of the dense step, over the time of this one",
        "accumulate": "equal parts in which the batch runs; gradients add up, and one update follows the last",
        "DRAM needed": "at the moment of the step when it is most: weights, master weights, state of the optimizer,"
                       " gradients, and activations that wait for their readers, BP among them",
        "online": "a compact copy is generated in front of each product that reads it",
        "pre-generated": "a compact copy is made right after the update, for all that read it",
        "resident": "a result stays on the chip for the task that reads it",
        "closed": "the closed-form engine: formulas, one task after another",
        "event": "the event engine: units and DRAM work side by side",
        "SORE": "the unit that sorts values and keeps the largest of each group",
        "WUVE": "the unit that updates weights",
        "STCE": "the array of PEs, which multiplies dense and N:M operands",
    },
}  # fmt: skip

_FORMS = {
    "interleave": (r"\d+x\d+(x\d+)?", r"os \d+x\d+(x\d+)?"),
    "os": (r"os \d+x\d+(x\d+)?",),
    "ws": (r"ws \w+( \d+)?",),
    "is": (r"is \w+( \d+)?",),
    "split": (r"(ws|is) split",),
    "chain": (r"(ws|is) chain( \d+)?",),
    "flat": (r"ws flat",),
    "loop order": (r"mnk|mkn|nmk|nkm|kmn|knm",),
    "[phase 0,1]": (r".*\[phase [\d,]+\].*", r"phase( [\d,]+)?"),
    "[col2im]": (r".*\[col2im\].*", r"col2im"),
    "[sum]": (r".*\[sum( \d+)?\].*",),
    "[sum of parts]": (r".*\[sum of parts\].*",),
    "[dA]": (r".*\[d[AB]\].*", r"d[AB]"),
    "[run 1]": (r".*\[run \d+\].*", r"run( \d+)?"),
    "[FF copy]": (r".*\[(FF|BP|WU) copy\].*", r"(compact )?copy"),
    "[FF]": (r".*\[(FF|BP|WU)\]",),
    "(x12)": (r".*\(x\d+\)", r"x\d+"),
    "N:M": (r"\d+:\d+", r"pattern"),
}

GLOSSARY = tuple(
    Word(name=name, topic=topic, meaning=meaning, forms=_FORMS.get(name, ()))
    for topic, words in _SAID.items()
    for name, meaning in words.items()
)
"""Every word, by topic."""


def explained(text: str) -> tuple[Word, ...]:
    """Return what a word, or a cell of a table such as ``os 2x2x2``, means. Raises `InputError` with the nearest word.

    >>> [word.name for word in explained("ws split")]
    ['ws', 'split']
    """
    found = tuple(_matching([text.strip()]))
    if not found:
        names = [word.name for word in GLOSSARY]
        raise InputError(f"explain '{text}': no such word{did_you_mean(text, names)}; allowed: {', '.join(names)}")
    return found


def words_in(cells: Iterable[str]) -> tuple[Word, ...]:
    """Return the words that cells of tables are, in the order of the glossary."""
    return tuple(_matching(cells))


def _matching(cells: Iterable[str]) -> Iterator[Word]:
    distinct = set(cells)
    lowered = {cell.lower() for cell in distinct}
    for word in GLOSSARY:
        if word.name.lower() in lowered or any(re.fullmatch(form, cell) for form in word.forms for cell in distinct):
            yield word
