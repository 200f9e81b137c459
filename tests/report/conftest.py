"""Two reports, written once: a large network, and a small one beside the results that it shows."""

from pathlib import Path

import pytest

import accelsim as acs


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, sat: acs.Design) -> Path:
    """The folder of a report on ResNet-50."""
    folder = tmp_path_factory.mktemp("reports") / "large"
    trace = acs.load_trace("resnet50_imagenet")
    acs.write_report(
        folder, acs.compare(trace, sat), [sat], traces=[trace], command="accelsim report resnet50_imagenet"
    )
    return folder


@pytest.fixture(scope="session")
def small_results(sat: acs.Design) -> acs.Results:
    """ResNet-9 dense, and under two methods."""
    return acs.compare(acs.load_trace("resnet9_cifar10"), sat, methods=("dense", "bdwp", "mvue"), batch=64)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, sat: acs.Design, small_results: acs.Results) -> Path:
    """The folder of a report on them."""
    folder = tmp_path_factory.mktemp("reports") / "small"
    acs.write_report(folder, small_results, [sat], traces=[acs.load_trace("resnet9_cifar10")])
    return folder
