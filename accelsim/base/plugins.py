"""What other packages add, by entry points: methods, recipes, platforms and figures.

A package says in its metadata what it adds, for instance ``[project.entry-points."accelsim.methods"]`` with a line
``my-method = "my_package:MY_METHOD"``; ``workloads/examples/plugin`` is a whole one. What cannot be used is left out
with a `PluginWarning`: a package that is broken takes nothing else along.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUPS", "PluginWarning", "Registry", "plugin_names", "plugin_sources"]

GROUPS = ("methods", "recipes", "platforms", "figures")
"""What can be added: the parts of the names of entry points behind ``accelsim.``"""

Added = TypeVar("Added")


class PluginWarning(UserWarning):
    """Something that an installed package adds cannot be used, and is left out."""


@cache
def _points(group: str) -> "tuple[EntryPoint, ...]":
    from importlib.metadata import entry_points  # noqa: PLC0415  20 ms

    return tuple(sorted(entry_points(group=f"accelsim.{group}"), key=lambda point: point.name))


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names of what is added, whether it can be used or not."""
    return tuple(point.name for point in _points(group))


class Registry(Mapping[str, Added]):
    """What there is of a kind, by name: what is `shipped`, then what other packages add to the `group`.

    Those are imported when they are first asked for, and `read` makes what is registered of each object and its name.
    What cannot be imported or read (`ValueError` says why), and what is called as something that is shipped, is left
    out with a warning.
    """

    def __init__(
        self, group: str, shipped: Callable[[], Mapping[str, Added]], read: Callable[[object, str], Added]
    ) -> None:
        self._group, self._make, self._read = group, shipped, read

    @cached_property
    def _shipped(self) -> Mapping[str, Added]:
        return self._make()

    @cached_property
    def _all(self) -> Mapping[str, Added]:
        found = dict(self._shipped)
        for point in _points(self._group):
            if point.name in found:
                _leave_out(self._group, point, ValueError("another one is called so"))
                continue
            try:
                found[point.name] = self._read(point.load(), point.name)
            except Exception as error:
                _leave_out(self._group, point, error)
        return found

    def __getitem__(self, name: str) -> Added:
        return self._shipped[name] if name in self._shipped else self._all[name]

    def __contains__(self, name: object) -> bool:
        return name in self._shipped or name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _leave_out(group: str, point: "EntryPoint", error: Exception) -> None:
    package = point.dist.name if point.dist else point.value
    why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
    text = f"accelsim.{group} '{point.name}' of the package {package} is left out: {' '.join(why.split())}"
    warnings.warn(text, PluginWarning, stacklevel=2)


def plugin_sources() -> Iterator[tuple[str, Path]]:
    """Yield the files of the packages that add something, each with a name: results rest on them, too."""
    for group in GROUPS:
        for point in _points(group):
            yield from _files_of(f"{group} {point.name} {point.value}", point.module.partition(".")[0])


def _files_of(name: str, module: str) -> Iterator[tuple[str, Path]]:
    spec = find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        for folder in map(Path, spec.submodule_search_locations):
            for path in sorted(folder.rglob("*")):
                if path.suffix in {".py", ".yaml", ".yml"}:
                    yield f"{name} {path.relative_to(folder).as_posix()}", path
    elif spec is not None and spec.origin:
        yield name, Path(spec.origin)
