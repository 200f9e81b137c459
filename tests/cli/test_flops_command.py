"""``accelsim flops``: what it prints, as a table and as JSON, and its errors."""

import json

import pytest

RIGL = """\
format: accelsim-zeros/1
zeros:
  - {tensor: weight, of: [conv, linear], form: unstructured, sparsity: 0.9, across: erk}
  - {tensor: weight-gradient, same-as: weight}
"""


def test_the_command(run, tmp_path):
    path = tmp_path / "z.yaml"
    path.write_text(RIGL)
    code, out, err = run(
        "flops", "resnet50_imagenet", "--zeros", str(path), "--machine", "ideal", "--machine", "a100_sxm_80gb", "--json"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert set(found["macs_executed"]) == {"ideal", "a100_sxm_80gb"}
    assert found["macs_executed"]["a100_sxm_80gb"] == found["macs_dense"]
    assert found["macs_executed"]["ideal"] == pytest.approx(found["macs_needed"])
    assert {"name", "density"} <= set(found["layers"][0])
    code, out, err = run("flops", "resnet50_imagenet", "--zeros", str(path), "--machine", "one_sided_32")
    assert (code, err) == (0, "")
    assert "inference 0.242 of dense, training 0.240" in out


WRONG = {
    ("--count", "rigel"): "--count rigel: no such rule; did you mean 'rigl'?; allowed: rigl",
    (
        "--machine",
        "idael",
    ): "--machine idael: no design or platform of this name, and no YAML file; did you mean 'ideal'?",
    ("--method", "traced"): "--method traced: prunes by no pattern; a traced density is across: traced in --zeros",
    ("--method", "bdpw"): None,
}


@pytest.mark.parametrize("options", WRONG)
def test_bad_options(run, options):
    code, out, err = run("flops", "resnet9_cifar10", *options)
    assert (code, out) == (2, "")
    if WRONG[options] is not None:
        assert err == f"error: {WRONG[options]}\n"
    else:
        assert "did you mean 'bdwp'?" in err
