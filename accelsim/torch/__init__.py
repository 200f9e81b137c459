"""Sparse training of PyTorch models: the methods of the literature, put on a model and taken off again.

>>> import accelsim
>>> model = accelsim.torch.bdwp(my_model, "2:8")  # doctest: +SKIP
>>> accelsim.torch.left_dense(model)[0]  # doctest: +SKIP
LeftDense(layer='conv1', stage='FF', reason='first layer')

Train it as ever, and trace it: the operands of its products are N:M where the method says so.
"""

from accelsim.base.errors import to_install

try:
    import torch  # noqa: F401 - asked for first, for the sake of the message
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(f"sparse training needs PyTorch: {to_install('torch')}", name="torch") from None

from accelsim.torch.decay import Schedule, mask_decay, stepwise_decay
from accelsim.torch.methods import (
    LeftDense,
    bdwp,
    bi_mask,
    dense,
    left_dense,
    mvue,
    sdgp,
    sdwp,
    sr_ste,
    transposable,
)

__all__ = [
    "LeftDense",
    "Schedule",
    "bdwp",
    "bi_mask",
    "dense",
    "left_dense",
    "mask_decay",
    "mvue",
    "sdgp",
    "sdwp",
    "sr_ste",
    "stepwise_decay",
    "transposable",
]
