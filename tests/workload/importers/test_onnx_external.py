"""Weights that lie in a file beside the ONNX model: read there, and nowhere else."""

import importlib
import warnings

import numpy as np
import pytest

from accelsim.base.errors import InputError
from accelsim.workload.importing import import_trace

onnx = pytest.importorskip("onnx", reason="reading ONNX needs the onnx extra")

from onnx_models import FLOAT, ROWS, built, filled, listed, node, pruned  # noqa: E402


@pytest.fixture
def saved(tmp_path):
    """Save a model with its tensors in a file beside it, as PyTorch's exporter does."""

    def save(model, change=None):
        path = tmp_path / "net.onnx"
        onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="net.onnx.data")
        if change is not None:
            bare = onnx.load(path, load_external_data=False)
            for tensor in bare.graph.initializer:
                for entry in tensor.external_data:
                    entry.value = change.get(entry.key, entry.value)
            path.write_bytes(bare.SerializeToString())
        return path

    return save


def test_a_mask_beside_the_file_is_a_mask(saved):
    weight = pruned((256, 256), "2:8", 0)  # inputs, outputs
    stored = {"dense": np.where(weight == 0, 1, weight), "mask": (weight != 0).astype(np.float32), "b": filled(256)}
    nodes = [node("Mul", "dense mask", "w"), node("MatMul", "x w", "p"), node("Add", "p b")]
    trace = import_trace(saved(built(nodes, {"x": ("N", 256)}, stored)))
    assert (trace.macs, trace.parameters) == (65_536, 256 * 256 + 256)
    seen = trace.operations[1].observed
    assert (seen.FF.weight.pattern, seen.FF.weight.density) == ("2:8", 0.25)


def test_absent_numbers_are_in_a_note(saved, tmp_path):
    path = saved(built(node("MatMul", "x w"), ROWS, {"w": pruned((4, 8), "1:4", 0)}))
    note = "the numbers of these weights are in no file: sparse ones and masks cannot be told from dense weights: w"
    there = import_trace(path)
    assert there.operations[0].observed.FF.weight.pattern == "1:4"
    assert note not in there.origin.assumptions
    (tmp_path / "net.onnx.data").unlink()
    gone = import_trace(path)
    assert gone.operations[0].observed is None
    assert gone.origin.assumptions[-1] == note
    assert listed(gone) == listed(there) == ["w = linear 4->8 rows 5 w no gradient"]


@pytest.mark.parametrize("kind", ["UINT4", "BFLOAT16", "FLOAT16", "INT8"])
def test_other_number_formats(saved, kind):
    dtype = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, kind))
    weight = np.abs(np.sign(pruned((16, 8), "2:8", 0))).astype(dtype)
    nodes = [node("Cast", "w", "c", to=FLOAT), node("MatMul", "x c")]
    if kind in {"UINT4", "INT8"}:
        nodes[0] = node("DequantizeLinear", "w s", "c")
    path = saved(built(nodes, {"x": ("N", 16)}, {"w": weight, "s": np.float32(0.5)}, opset=21))
    assert import_trace(path).operations[0].observed.FF.weight.pattern == "2:8"


def test_each_tensor_starts_at_its_own_place(saved):
    stored = {"a": filled(4, 4), "w": pruned((4, 8), "1:4", 0), "z": filled(8, 8)}
    nodes = [node("MatMul", "x a", "b"), node("MatMul", "b w", "c"), node("MatMul", "c z")]
    trace = import_trace(saved(built(nodes, ROWS, stored)))
    assert [one.observed and one.observed.FF.weight.pattern for one in trace.operations] == [None, "1:4", None]


@pytest.mark.parametrize(
    "place", ["../secret.bin", "/etc/hostname", "a/../../secret.bin", "C:\\secret.bin", "..\\secret.bin", ""]
)
def test_a_place_outside_the_folder_is_refused(saved, tmp_path, place):
    (tmp_path.parent / "secret.bin").write_bytes(bytes(96))
    path = saved(built(node("MatMul", "x w"), ROWS, {"w": filled(4, 6)}), {"location": place})
    with pytest.raises(InputError) as caught:
        import_trace(path)
    assert str(caught.value) == (
        f"{path}: tensor 'w' is said to lie in '{place}'; only files in the folder of the model are opened"
    )


def test_a_link_out_of_the_folder_is_refused(saved, tmp_path):
    path = saved(built(node("MatMul", "x w"), ROWS, {"w": filled(4, 6)}))
    inside = tmp_path / "net.onnx.data"
    content, outside = inside.read_bytes(), tmp_path.parent / "outside.bin"
    outside.write_bytes(content)
    inside.unlink()
    inside.symlink_to(outside)
    with pytest.raises(InputError) as caught:
        import_trace(path)
    assert str(caught.value) == (
        f"{path}: tensor 'w' is said to lie in 'net.onnx.data', which leads out of the folder of the model or is no file;"
        " put a copy of the file there"
    )
    inside.unlink()
    (tmp_path / "blob").write_bytes(content)
    inside.symlink_to(tmp_path / "blob")  # one that stays inside is no harm
    assert import_trace(path).parameters == 24


@pytest.mark.parametrize(
    "change",
    [{"length": "92"}, {"length": "1000000"}, {"offset": "-4"}, {"offset": "many"}, {"length": "0"}],
    ids=str,
)
def test_a_file_that_is_too_short_is_named(saved, tmp_path, change):
    path = saved(built(node("MatMul", "x w"), ROWS, {"w": filled(4, 6)}), change)
    with pytest.raises(InputError) as caught:
        import_trace(path)
    assert str(caught.value) == (
        f"{path}: tensor 'w' is 4x6, and {tmp_path / 'net.onnx.data'} holds another number of elements"
    )


def test_a_pruned_network_that_pytorch_exports(tmp_path):
    torch = pytest.importorskip("torch", reason="exporting needs the torch extra")
    pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript")
    weight = pruned((128, 128), "1:4", 1)
    layer = torch.nn.Linear(128, 128)
    importlib.import_module("torch.nn.utils.prune").custom_from_mask(layer, "weight", torch.from_numpy(weight != 0))
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.nn.Sequential(layer), (torch.zeros(2, 128),), path, dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    assert (tmp_path / "net.onnx.data").exists()
    trace = import_trace(path)
    assert (trace.macs, trace.parameters) == (128 * 128, 128 * 128 + 128)
    (product,) = (one for one in trace.operations if one.macs)
    assert (product.observed.FF.weight.pattern, product.observed.FF.weight.density) == ("1:4", 0.25)
