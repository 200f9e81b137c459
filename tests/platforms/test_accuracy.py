"""How far estimates are from measurements that no fit has seen, and how that is said."""

from pathlib import Path

import numpy as np
import pytest

from accelsim.platforms.accuracy import Accuracy, Compared, Signs, check_platforms, describe_check, error_band
from accelsim.platforms.published_rows import Unsupported

AIMS = {"throughput": 0.15, "sparse-gemm": 0.10}
WORST_PLATFORM = 0.30


@pytest.fixture(scope="module", params=AIMS)
def checked(request: pytest.FixtureRequest) -> tuple[Accuracy, Accuracy]:
    """The held-out rows and all rows of a check."""
    return check_platforms(request.param), check_platforms(request.param, everything=True)


def test_the_median_error_of_held_out_rows_is_within_the_aim(checked: tuple[Accuracy, Accuracy]) -> None:
    held, everything = checked
    assert all(row.held_out for row in held.compared)
    assert 0.2 < len(held.compared) / len(everything.compared) < 0.45
    assert held.overall is not None
    assert held.overall.median <= AIMS[held.check]


def test_rows_in_are_rows_compared_or_unsupported(checked: tuple[Accuracy, Accuracy]) -> None:
    _, everything = checked
    rows = {"throughput": 278, "sparse-gemm": 508}[everything.check]
    lines = [row.line for row in (*everything.compared, *everything.unsupported)]
    assert sorted(lines) == list(range(2, rows + 2))
    assert sum(everything.reasons.values()) == len(everything.unsupported)
    assert sum(spread.rows for spread in everything.by_platform.values()) == len(everything.compared)


def test_no_platform_is_far_off(checked: tuple[Accuracy, Accuracy]) -> None:
    _, everything = checked
    assert {
        name: spread.median for name, spread in everything.by_platform.items() if spread.median > WORST_PLATFORM
    } == {}


def compared(platform: str, measured: float, predicted: float, line: int = 2) -> Compared:
    return Compared(
        line=line,
        platform=platform,
        behaviour=None,
        label=f"row {line}",
        unit="x",
        measured=measured,
        predicted=predicted,
        held_out=False,
    )


def test_signs_worked_by_hand() -> None:
    # gains seen, a gain taken for a loss, a loss seen, and two taken for gains
    pairs = [(1.5, 1.2), (1.1, 1.9), (1.2, 0.9), (0.8, 0.7), (0.9, 1.1), (1.0, 1.3)]
    rows = tuple(compared("a", *pair, line) for line, pair in enumerate(pairs))
    found = Accuracy(check="sparse-gemm", compared=rows, unsupported=())
    assert found.signs == Signs(rows=6, right=3, losses=3, losses_seen=1)
    assert str(found.signs) == "whether it gains or loses is right in 3 of 6 rows, and in 1 of the 3 where it loses"
    assert found.to_dict()["signs"] == {"rows": 6, "right": 3, "losses": 3, "losses_seen": 1}
    assert Accuracy(check="throughput", compared=rows, unsupported=()).signs is None
    assert Accuracy(check="sparse-gemm", compared=(), unsupported=()).signs is None


def test_spreads_worked_by_hand() -> None:
    # errors 0, 0.1, 0.2, ... 1.0: the median 0.5, nine tenths at 0.9
    rows = tuple(compared("b" if i % 2 else "a", 10.0, 10.0 + i, i) for i in range(11))
    lost = Unsupported(line=99, platform="c", reason="no profile of this platform")
    found = Accuracy(check="throughput", compared=rows, unsupported=(lost, lost))
    assert found.overall is not None
    assert (found.overall.rows, found.overall.median, found.overall.p90) == (11, 0.5, pytest.approx(0.9))
    assert found.overall.worst.line == 10
    assert list(found.by_platform) == ["a", "b"]
    assert found.by_platform["b"].median == 0.5
    assert found.reasons == {"c: no profile of this platform": 2}
    assert found.to_dict() == {
        "check": "throughput",
        "cases": 11,
        "exact": None,
        "worst_relative_error": 1.0,
        "median_relative_error": 0.5,
        "p90_relative_error": pytest.approx(0.9),
        "signs": None,
        "unsupported": {"c: no profile of this platform": 2},
        "platforms": {
            "a": {
                "cases": 6,
                "median_relative_error": 0.5,
                "p90_relative_error": pytest.approx(0.9),
                "worst": "row 10",
            },
            "b": {
                "cases": 5,
                "median_relative_error": 0.5,
                "p90_relative_error": pytest.approx(0.82),
                "worst": "row 9",
            },
        },
    }


def test_nothing_compared() -> None:
    found = Accuracy(check="throughput", compared=(), unsupported=())
    assert found.overall is None
    assert found.to_dict()["median_relative_error"] is None
    assert found.to_dict()["platforms"] == {}


def test_errors_are_relative_to_what_was_measured() -> None:
    assert compared("a", 4.0, 5.0).relative_error == 0.25
    assert compared("a", 4.0, 3.0).relative_error == 0.25


def test_all_rows_of_a_file_are_compared(tmp_path: Path) -> None:
    columns = "platform,n_devices,model,input,batch_per_device,precision,framework_layout,throughput,unit"
    rows = [f"RTX 3090,1,ResNet-50,ImageNet,{batch},AMP,NHWC,800,img/s" for batch in (16, 32, 64, 128)]
    rows += ["RTX 3090,1,ResNet-50,ImageNet,64,BF16,NHWC,800,img/s", "V100,1,ResNet-50,ImageNet,64,BF16,NHWC,800,img/s"]
    path = tmp_path / "own.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    found = check_platforms("throughput", path)
    assert [row.line for row in found.compared] == [2, 3, 4, 5, 6]
    assert found.reasons == {
        "v100_sxm2_16gb: precision 'bf16': platform 'v100_sxm2_16gb' has none; did you mean 'fp16'?;"
        " allowed: fp32, fp16, int8": 1
    }  # fmt: skip


def test_tokens_and_operations_per_second(tmp_path: Path) -> None:
    columns = "platform,n_devices,model,input,batch_per_device,precision,framework_layout,throughput,unit"
    rows = [
        f"A100,1,{model},{length},8,AMP,PyTorch,100,{unit}"
        for model, length, unit in (
            ("BERT-base", "seq 128", "seq/s"),
            ("BERT-base", "seq 128", "tokens/s"),
            ("BERT-large layer", "seq 128", "seq/s"),
            ("BERT-large layer", "seq 128", "tokens/s"),
            ("BERT-base", "seq 128", "TFLOP/s"),
        )
    ]
    path = tmp_path / "own.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    sequences, tokens, layers, layer_tokens, rate = (
        row.predicted for row in check_platforms("throughput", path).compared
    )
    assert tokens == pytest.approx(128 * sequences)
    assert layer_tokens == pytest.approx(128 * layers)
    assert 1e12 < rate < 312e12


def test_what_a_check_compares() -> None:
    assert describe_check("throughput", shipped=True) == (
        "training throughput on one device; the held-out third of the shipped rows, which no fit has seen"
    )
    assert describe_check("sparse-gemm", shipped=False) == (
        "speedup of a product with a 2:4 weight over the dense one; all rows of the file"
    )


def test_error_bands() -> None:
    held = check_platforms("throughput").compared
    own = [row.relative_error for row in held if row.platform == "a100_sxm_80gb"]
    assert error_band("a100_sxm_80gb", "ampere_server") == (
        float(np.median(own)),
        f"median of {len(own)} held-out measurements of it",
    )
    family = [row.relative_error for row in held if row.platform == "gtx1080ti"]
    assert error_band("jetson_nano", "pascal") == (
        float(np.quantile(family, 0.9)),
        f"90th percentile of {len(family)} held-out measurements of its family, 0 of it",
    )
    assert error_band("i9_9900x", "cpu") == (
        float(np.quantile([row.relative_error for row in held], 0.9)),
        f"90th percentile of {len(held)} held-out measurements of all platforms, 0 of it",
    )
    unknown = (None, "no measurement of it is shipped (accelsim validate throughput compares your own)")
    assert error_band("mine", "pascal") == unknown
    # a file that takes a shipped name, but not its behaviour
    assert error_band("a100_sxm_80gb", "mine.yaml") == unknown
