"""Results as if something else had been simulated."""

from dataclasses import replace
from typing import Any

from accelsim.results.step import Result
from accelsim.sparsity.methods import find_method


def as_if(result: Result, *, workload: str | None = None, method: str | None = None, **case: Any) -> Result:
    """The numbers of a result as those of another workload, method or `case`; its identity stays as it was."""
    basis = result.basis
    options = basis.case if method is None else basis.case.under(find_method(method), basis.case.pattern)
    changed = replace(basis, workload=workload or basis.workload, case=replace(options, **case))
    dense = result.dense and replace(result.dense, basis=replace(changed, case=changed.case.dense))
    return replace(result, basis=changed, dense=dense)


def of_version(result: Result, version: str) -> Result:
    """A result as another version of the model would have written it."""
    dense = None if result.dense is None else of_version(result.dense, version)
    return replace(result, version=version, identity=result.basis.identity(version), dense=dense)
