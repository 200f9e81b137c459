"""Sweep specs: the format ``accelsim-sweep/1``, and the same from Python or a command line.

```yaml
format: accelsim-sweep/1
name: array_bandwidth
description: how much DRAM bandwidth an array of a given size needs
design: sat_vcu1525
vary:                                      # the last axis changes fastest
  workload: [resnet50_imagenet]
  pattern: [2:4, 2:8]                      # method, batch, optimizer, engine and accumulate likewise; as in simulate
  array.rows: [16, 32, 64]
  dram.bandwidth_gb_per_s: 10:80:10        # start:stop:step, the stop included; start:stop:*factor
link: {array.cols: array.rows}             # a field set by an expression of others
where: ["array.rows * array.cols <= 2048"] # points for which all of these hold
fits: true                                 # a design that its device cannot hold is a row with that reason
sample: {kind: latin-hypercube, points: 100, seed: 1}  # or random; without it, every combination
```

Paths of designs, traces and energy tables start where the file lies. Where points are sampled, an axis may be an
interval: ``10..80`` or ``10..80 log``. Ranges and intervals may also be written as mappings: start, stop and step or
factor; low, high and log. ``accelsim schema sweep`` prints the schema.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from pydantic import Field, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import FileModel, Plain, errors_of, packaged_names, read_text, shipped_or_file, validate
from accelsim.hardware.design import Design, load_design
from accelsim.hardware.sourced import leaf_paths, parse_yaml
from accelsim.sparsity.methods import METHODS
from accelsim.sweep.axes import RESERVED, Axis, Interval, Levels, check_path, read_axis
from accelsim.sweep.expression import parse_expression
from accelsim.sweep.inputs import base_values, read_inputs
from accelsim.sweep.space import SAMPLINGS, Link, Sampling, Sweep
from accelsim.workload.trace import load_trace, shipped_traces

__all__ = ["SweepFile", "load_sweep", "make_sweep", "sweep_names"]

_DEFAULTS = {"method": "bdwp", "pattern": "2:8", "batch": 512, "optimizer": "sgd", "engine": "closed",
             "accumulate": 1}  # fmt: skip
_MOST_SAMPLES = 1_000_000

_NUMBER = {"type": "number"}
_SCALAR = {"type": ["number", "string", "boolean", "null"]}
_AXIS_SCHEMA: JsonSchemaValue = {
    "anyOf": [
        {"description": "one value, a comma-separated list, start:stop:step, start:stop:*factor, low..high", **_SCALAR},
        {"type": "array", "minItems": 1, "items": {"anyOf": [_SCALAR, {"type": "array"}]}},
        *(
            {
                "type": "object",
                "properties": properties,
                "required": [name for name in properties if name != "log"],
                "additionalProperties": False,
            }
            for properties in (
                {"start": _NUMBER, "stop": _NUMBER, "step": _NUMBER},
                {"start": _NUMBER, "stop": _NUMBER, "factor": _NUMBER},
                {"low": _NUMBER, "high": _NUMBER, "log": {"type": "boolean"}},
            )
        ),
    ]
}
_Axis = Annotated[Any, WithJsonSchema(_AXIS_SCHEMA)]


class SampleEntry(FileModel):
    """How points are drawn from the axes."""

    kind: Literal["random", "latin-hypercube"]
    points: Annotated[int, Field(ge=1, le=_MOST_SAMPLES)]
    seed: Annotated[int, Field(ge=0, le=2**32)]


class SweepFile(FileModel):
    """A sweep as its file has it."""

    format: Literal["accelsim-sweep/1"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str
    design: Annotated[str, Field(min_length=1)]
    vary: dict[str, _Axis]
    link: dict[str, str] = Field({}, description="fields of the design, or batch, and the expression each is set by")
    where: Annotated[tuple[str, ...], Field(strict=False)] = ()
    fits: bool = Field(False, description="leave designs that their device cannot hold out (estimate)")
    sample: SampleEntry | None = None


def sweep_names() -> list[str]:
    """Return the names of the shipped sweeps."""
    return list(packaged_names("workloads/sweeps", (".yaml",)))


def load_sweep(name_or_path: str | Path) -> Sweep:
    """Return a sweep.

    Args:
        name_or_path: the name of a shipped one, or a YAML file.

    Raises `InputError` listing every error of the file.

    >>> load_sweep("array_bandwidth").count()
    128
    """
    shipped = packaged_names("workloads/sweeps", (".yaml",))
    path = shipped_or_file(name_or_path, shipped, "sweep", suffixes=(".yaml", ".yml"))
    data, lines = parse_yaml(read_text(path), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: a mapping of keys to values is needed")
    form = validate(SweepFile, data, str(path), lines=lines)

    def place(section: str, key: str | int) -> str:
        whole = f"{section}[{key}]" if isinstance(key, int) else f"{section}.{key}" if key else section
        return f"{path}:{lines.get(whole, lines.get(section, 1))}: {whole}"

    return _Reader(place, str(path)).sweep(
        name=form.name,
        description=form.description,
        design=_from_folder(path.parent, form.design, packaged_names("hw_configs", (".yaml",))),
        vary=tuple((axis, _axis_from_folder(path.parent, axis, values)) for axis, values in form.vary.items()),
        link=tuple(form.link.items()),
        where=form.where,
        fits=form.fits,
        sampling=None if form.sample is None else Sampling(**form.sample.model_dump()),
    )


_SHIPPED_AXES: Mapping[str, Callable[[], Mapping[str, Path]]] = {
    "workload": shipped_traces,
    "energy": lambda: packaged_names("hw_configs/energy", (".yaml",)),
}
"""Axes whose values may be paths instead of shipped names."""


def _from_folder(folder: Path, name: str, shipped: Mapping[str, Path]) -> str:
    """Return the path of a file as seen from the working directory; in the spec it starts at its `folder`."""
    is_path = bool(name) and name not in shipped and (Path(name).suffix or (folder / name).exists())
    return str(folder / name) if is_path else name


def _axis_from_folder(folder: Path, axis: str, given: Plain) -> Plain:
    parts = given.split(",") if isinstance(given, str) else given
    if axis not in _SHIPPED_AXES or not isinstance(parts, list):
        return given
    shipped = _SHIPPED_AXES[axis]()
    found = [_from_folder(folder, part.strip(), shipped) if isinstance(part, str) else part for part in parts]
    return found if all(found) else given  # what is wrong with it is said of the text as it stands


def make_sweep(
    workloads: Sequence[str],
    design: str = "sat_vcu1525",
    *,
    vary: Mapping[str, Plain] | Sequence[tuple[str, Plain]],
    link: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    where: Sequence[str] = (),
    fits: bool = False,
    sample: int | None = None,
    sampling: str = "random",
    seed: int = 0,
) -> Sweep:
    """Return a sweep over `workloads` and the axes in `vary`, as a spec file would have it.

    Args:
        workloads: names of shipped traces or trace files; none where `vary` has the axis ``workload``.
        design: the design that is varied: a shipped name or a file.
        vary: values of each axis, by its path: a field of the design, as in ``array.rows``, or one of ``workload``,
            ``method``, ``pattern``, ``batch``, ``optimizer``, ``engine`` and ``accumulate``. Values as a list, one
            alone, or a text as on the command line: ``16,32,64``, ``10:80:10`` (first, last, step).
        link: fields of the design that follow others, each with an expression, as in ``array.rows * 2``.
        where: conditions over paths that points must meet, as in ``array.rows >= array.cols``.
        fits: whether points must fit the resources of the device.
        sample: how many points are drawn, from 1; None: all.
        sampling: how they are drawn, one of `accelsim.sweep.space.SAMPLINGS`.
        seed: of what is drawn, a whole number from 0.

    Errors name the options of the command line that are called alike. Raises `InputError` listing every one of them.

    >>> sweep = make_sweep(["resnet9_cifar10"], vary={"array.rows": [16, 32], "pattern": "2:4,2:8"})
    >>> [(dict(point.changes)["array.rows"], str(point.case)) for point in sweep.points()]
    [('16', 'bdwp 2:4'), ('16', 'bdwp 2:8'), ('32', 'bdwp 2:4'), ('32', 'bdwp 2:8')]
    """
    if sampling not in SAMPLINGS:
        hint = did_you_mean(sampling, SAMPLINGS)
        raise InputError(f"--sampling: got '{sampling}'{hint}; allowed: {', '.join(SAMPLINGS)}")
    drawn = None
    if sample is not None:
        entry: dict[str, Plain] = {"kind": sampling, "points": sample, "seed": seed}
        drawn = Sampling(**validate(SampleEntry, entry, "--sample").model_dump())
    pairs = tuple(vary.items()) if isinstance(vary, Mapping) else tuple(vary)
    links = tuple(link.items()) if isinstance(link, Mapping) else tuple(link)
    return _Reader(_option, "").sweep(
        name="",
        description="",
        design=design,
        vary=(("workload", list(workloads)), *pairs) if workloads else pairs,
        link=links,
        where=tuple(where),
        fits=fits,
        sampling=drawn,
    )


def _option(section: str, key: str | int) -> str:
    if section == "vary" and key in RESERVED:
        return "TRACE" if key == "workload" else f"--{key}"
    return f"--{section} {key}".rstrip() if isinstance(key, str) else f"--{section}"


_Item = TypeVar("_Item")
_Arguments = ParamSpec("_Arguments")


class _Reader:
    """Reads the parts of a sweep and collects what is wrong with them; `place` says where a part stands."""

    def __init__(self, place: Callable[[str, str | int], str], source: str) -> None:
        self._place, self._source, self._problems = place, source, list[str]()

    def _try(
        self,
        section: str,
        key: str | int,
        read: Callable[_Arguments, _Item],
        *arguments: _Arguments.args,
        **options: _Arguments.kwargs,
    ) -> _Item | None:
        try:
            return read(*arguments, **options)
        except InputError as error:
            self._problems.append(f"{self._place(section, key)}: {error}")
            return None

    def _stop_if_wrong(self) -> None:
        if self._problems:
            raise errors_of(self._source or "sweep", self._problems)

    def sweep(
        self,
        *,
        name: str,
        description: str,
        design: str,
        vary: tuple[tuple[str, Plain], ...],
        link: tuple[tuple[str, str], ...],
        where: tuple[str, ...],
        fits: bool,
        sampling: Sampling | None,
    ) -> Sweep:
        try:
            base = base_values(load_design(design))
        except InputError as error:
            raise InputError(f"{self._source}: {error}" if self._source else str(error)) from None
        axes = self._axes(vary, sampling)
        constraints = [self._try("where", index, parse_expression, text, _names()) for index, text in enumerate(where)]
        self._stop_if_wrong()
        links = self._links(link, tuple(path for path, _ in vary))
        self._stop_if_wrong()
        levels = {axis.path: axis.values for axis in axes if isinstance(axis, Levels)}
        energies = levels.get("energy", (base["energy"],))
        sweep = Sweep(
            name=name,
            description=description,
            axes=axes,
            links=links,
            constraints=tuple(item for item in constraints if item is not None),
            fits=fits,
            sampling=sampling,
            inputs=read_inputs(design, levels["workload"], energies),
        )
        self._check_points(sweep)
        return sweep

    def _axes(self, vary: tuple[tuple[str, Plain], ...], sampling: Sampling | None) -> tuple[Axis, ...]:
        given = [path for path, _ in vary]
        read: list[Axis] = []
        for index, (path, values) in enumerate(vary):
            if path in given[:index]:
                self._problems.append(f"{self._place('vary', path)}: is given twice")
            axis = self._try("vary", path, read_axis, path, values)
            if isinstance(axis, Interval) and sampling is None:
                self._problems.append(
                    f"{self._place('vary', path)}: an interval lists no values; sample the sweep, or write a range"
                )
            if axis is not None:
                read.append(axis)
        fixed = [Levels(path=path, values=(value,)) for path, value in _DEFAULTS.items() if path not in given]
        axes = (*fixed, *read)
        levels = {axis.path: axis.values for axis in axes if isinstance(axis, Levels)}
        if "workload" not in given:
            self._problems.append(f"{self._place('vary', 'workload')}: missing; name a trace")
        for name in levels.get("workload", ()):
            self._try("vary", "workload", load_trace, name)
        methods = levels.get("method", ())
        if "pattern" in given and methods and not any(METHODS[method].takes_pattern for method in methods):
            self._problems.append(
                f"{self._place('vary', 'pattern')}: no method of the sweep takes one: {', '.join(methods)}"
            )
        self._check_sample(axes, sampling)
        return axes

    def _check_sample(self, axes: Sequence[Axis], sampling: Sampling | None) -> None:
        if sampling is None or sampling.kind != "random" or any(isinstance(axis, Interval) for axis in axes):
            return
        size = math.prod(len(axis.values) for axis in axes if isinstance(axis, Levels))
        if sampling.points > size:
            self._problems.append(
                f"{self._place('sample', '')}: {sampling.points:,} points of a grid of {size:,}; sweep the grid itself"
            )

    def _links(self, given: tuple[tuple[str, str], ...], varied: tuple[str, ...]) -> tuple[Link, ...]:
        read = [self._try("link", left, _read_link, left, right, varied) for left, right in given]
        links = [link for link in read if link is not None]
        for index, link in enumerate(links):
            earlier = next((other for other in links[:index] if other.path == link.path), None)
            chained = next((other for other in links if other.path in link.expression.names), None)
            place = self._place("link", link.path)
            if earlier is not None:
                self._problems.append(
                    f"{place}: contradictory: is linked to '{earlier.expression.text}' and to '{link.expression.text}'"
                )
            elif chained is not None:
                self._problems.append(
                    f"{place}: '{link.expression.text}': {chained.path} is linked itself, to"
                    f" '{chained.expression.text}'; write what is varied"
                )
        return tuple(links)

    def _check_points(self, sweep: Sweep) -> None:
        """Refuse a sweep without a point, and one in which a link or constraint cannot be evaluated somewhere."""
        try:
            if sweep.count():
                return
        except InputError as error:
            if str(error).startswith("accumulate: "):
                place = self._place("vary", "accumulate")
                raise InputError(f"{place}: {str(error).removeprefix('accumulate: ')}") from None
            raise InputError(f"{self._place('where' if sweep.constraints else 'link', '')}: {error}") from None
        total = replace(sweep, constraints=()).count()
        each = [
            f"'{item.text}' holds for {replace(sweep, constraints=(item,)).count():,}" for item in sweep.constraints
        ]
        place = self._place("where", "")
        raise InputError(f"{place}: leaves no point: of {total:,} combinations, {', '.join(each)}")


def _read_link(left: str, right: str, varied: tuple[str, ...]) -> Link:
    """Read ``left = right``; an equation of two names may be written either way round."""
    check_path(left)
    expression = parse_expression(right, _names())
    turned = left in varied and expression.names == (expression.text,) and expression.text not in varied
    if turned:
        left, expression = expression.text, parse_expression(left, _names())
    if left in RESERVED and left != "batch":
        raise InputError(f"{left} cannot be linked; fields of the design and batch can")
    if left in varied:
        raise InputError(f"contradictory: is varied, and linked to '{right}'")
    if left in expression.names:
        raise InputError(f"contradictory: is linked to itself by '{right}'")
    if not any(name in varied for name in expression.names):
        raise InputError(f"'{expression.text}': nothing in it is varied")
    return Link(path=left, expression=expression)


def _names() -> set[str]:
    return {*leaf_paths(Design), *RESERVED}
