"""The fit sees no held-out row, and finds the values that rows were made from."""

from dataclasses import replace

import pytest

from accelsim.hardware.platform import load_platform, platform_names
from accelsim.platforms import fit
from accelsim.platforms.fit import FittedFamily, families, fit_families
from accelsim.platforms.predictions import predict_pairs, prepare
from accelsim.platforms.published_rows import (
    SparseCase,
    ThroughputCase,
    Unsupported,
    held_out,
    read_sparse,
    read_throughput,
)


@pytest.fixture(scope="module")
def found() -> dict[str, FittedFamily]:
    return families()


def test_the_fit_reads_no_held_out_row(found: dict[str, FittedFamily]) -> None:
    rows = [row.case for family in found.values() for row in family.training]
    pairs = [pair for family in found.values() for pair in family.products]
    for kind, read, seen in (("throughput", read_throughput, rows), ("pairs", read_sparse, pairs)):
        cases = [case for case in read() if not isinstance(case, Unsupported)]
        withheld = {case.key for case in cases if held_out(case)}
        assert withheld, kind
        assert not withheld & {case.key for case in seen}, kind
        assert len(seen) == sum(not held_out(case) for case in cases), kind


def test_families_are_the_behaviours_of_platforms(found: dict[str, FittedFamily]) -> None:
    assert set(found) == {load_platform(name).behaviour for name in platform_names()} - {None}
    for family in found.values():
        assert {row.case.platform.behaviour for row in family.training} <= {family.name}
        assert {pair.platform.behaviour for pair in family.products} <= {family.name}


MADE_TRAINING = {"matrix_efficiency": 0.5, "memory_efficiency": 0.7, "host_us": 30.0}
MADE_PRODUCTS = {"product_efficiency": 0.9, "sparse_gain": 1.5, "sparse_kernel_us": 3.0}


def test_the_fit_finds_the_values_that_rows_were_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve steps and twenty-four products, made by the model with other values than the fit starts from."""
    monkeypatch.setattr(fit, "_PULL", 0.0)
    for table, free in (("_TRAINING", MADE_TRAINING), ("_PRODUCTS", MADE_PRODUCTS)):
        monkeypatch.setattr(fit, table, {name: getattr(fit, table)[name] for name in free})
    monkeypatch.setattr(fit, "_COMMON", {})
    platform = load_platform("a100_sxm_80gb")
    made = FittedFamily(name="made", training=[], products=[])
    truth = made.behaviour({**MADE_TRAINING, **MADE_PRODUCTS})
    example = next(case for case in read_throughput() if isinstance(case, ThroughputCase))
    for trace in ("resnet50_imagenet", "bert_base_128", "resnet18_tinyimagenet"):
        for batch in (1, 8, 64, 128):
            software = replace(example.software, precision="amp", channels_last=True)
            case = replace(example, platform=platform, trace=trace, batch=batch, software=software, unit="samples/s")
            made.training.append(prepare(replace(case, measured=prepare(case).predict(truth))))
    pair = next(case for case in read_sparse() if isinstance(case, SparseCase))
    for m in (64, 512, 4096, 16384):
        for n, k in ((1024, 1024), (4096, 1024), (4096, 4096), (8192, 2048), (2048, 8192), (12288, 4096)):
            shape = replace(pair, platform=platform, arithmetic="fp16", m=m, n=n, k=k)
            speedups, dense_us = predict_pairs([shape], truth)
            made.products.append(replace(shape, speedup=float(speedups[0]), dense_us=float(dense_us[0])))
    fit_families({"made": made})
    for name, value in {**MADE_TRAINING, **MADE_PRODUCTS}.items():
        assert made.values[name] == pytest.approx(value, rel=0.05), name
    assert made.training_error({}) < 0.01
    assert made.product_error({}) < 0.01


def test_a_family_without_products_is_fitted_with_what_it_ships(found: dict[str, FittedFamily]) -> None:
    """A training step needs the cache's gain, which only products measure: it is the median of other families' then."""
    made = {name: FittedFamily(name=name, training=[], products=found[name].products[:6]) for name in ("ada", "hopper")}
    made["volta"] = FittedFamily(name="volta", training=found["volta"].training[:1], products=[])
    fit_families(made)
    middle = (made["ada"].values["cache_gain"] + made["hopper"].values["cache_gain"]) / 2
    assert made["volta"].values["cache_gain"] == pytest.approx(middle)
    assert fit._origin(made, made["volta"], "cache_gain") == (
        float(f"{middle:.3g}"),
        "no row measures it: the median of the families with rows",
        "assumption",
    )
