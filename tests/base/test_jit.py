"""Kernels compile with and without a cache on disk."""

import numba
import pytest

from accelsim.base.jit import compiled_before, jit


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*, cache: bool = False):
        def wrap(function):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return function

        return wrap

    monkeypatch.setattr(numba, "njit", refusing)
    assert jit(len)([1, 2]) == 2


def test_a_fresh_function_was_not_compiled_before() -> None:
    def double(value):
        return 2 * value

    kernel = jit(double)
    assert getattr(kernel, "stats", None) is None or not compiled_before(kernel)
