"""Where the arguments of torch's operations stand in recordings, of CPUs and GPUs alike."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from accelsim.workload.torch_words import CASTS, WORDS_OF

__all__ = ["ATTENTION", "CONVOLUTIONS", "LIKE_FIRST", "NOT_COUNTED", "PARAMETERS", "VIEWS"]

_GENERAL = {"stride": 3, "padding": 4, "dilation": 5, "transposed": 6, "output_padding": 7, "groups": 8}
_WITH_BIAS = {"padding": 3, "stride": 4, "dilation": 5, "groups": 6}
CONVOLUTIONS: Mapping[str, Mapping[str, int]] = MappingProxyType({
    "convolution": _GENERAL,
    "convolution_overrideable": _GENERAL,
    "mkldnn_convolution": _WITH_BIAS,
    "miopen_convolution": _WITH_BIAS,
    "miopen_depthwise_convolution": _WITH_BIAS,
    "miopen_convolution_transpose": {"padding": 3, "output_padding": 4, "stride": 5, "dilation": 6, "groups": 7},
    "cudnn_convolution": {"padding": 2, "stride": 3, "dilation": 4, "groups": 5},
    "cudnn_convolution_transpose": {"padding": 2, "output_padding": 3, "stride": 4, "dilation": 5, "groups": 6},
    "cudnn_convolution_relu": {"stride": 3, "padding": 4, "dilation": 5, "groups": 6},
})  # fmt: skip
"""Convolutions, by the positions of what describes them; input and weight stand first."""

ATTENTION: Mapping[str, tuple[str, int]] = MappingProxyType({
    "scaled_dot_product_attention": ("BHTD", 4),
    "scaled_dot_product_flash_attention": ("BHTD", 3),
    "scaled_dot_product_flash_attention_for_cpu": ("BHTD", 3),
    "scaled_dot_product_efficient_attention": ("BHTD", 5),
    "scaled_dot_product_cudnn_attention": ("BHTD", 5),
    "scaled_dot_product_fused_attention_overrideable": ("BHTD", 4),
    "flash_attention_forward": ("BTHD", 7),
    "flash_attn_forward": ("BTHD", 3),
})  # fmt: skip
"""Attention in one kernel: order of batch, heads, positions and width, and the position of the dropout."""

LIKE_FIRST = frozenset(
    word
    for kind in ("norm", "activation", "softmax", "dropout")
    for word in WORDS_OF[kind].split()
    if word not in {"glu", "prelu_kernel"}
) | {"clone", "roll", "flip", "cumsum", "tril", "triu", "nan_to_num", "clamp", "masked_fill"}
"""Operations whose result has the shape of their first operand."""

_VIEWS = (
    "alias as_strided detach diagonal expand permute real reshape_alias select slice split split_with_sizes squeeze"
    " swapaxes t transpose unbind unfold unsafe_split unsafe_split_with_sizes unsafe_view unsqueeze view"
    " view_as_complex view_as_real"
)
VIEWS = frozenset(_VIEWS.split())

NOT_COUNTED = re.compile(
    "|".join((*VIEWS, *CASTS))
    + r"|new_\w+|\w+_like|zero|fill|uniform|normal|random|bernoulli|exponential|geometric|log_normal|cauchy"
    r"|empty\w*|zeros|ones|full|arange|linspace|logspace|eye|rand|randn|randint|randperm|tri[lu]_indices|scalar_tensor"
    r"|set|resize|local_scalar_dense|item|record_stream|assert_async|is_\w+|cudnn_is_\w+|has_\w+|nested_\w+|foreach_\w+|amp_\w+|(un)?flatten_dense_tensors|pin_memory"
)
"""Views, casts, new tensors and questions about them: no work of a layer."""

_SECOND, _SECOND_AND_THIRD, _THIRD = {1: "weight"}, {1: "weight", 2: "bias"}, {2: "weight"}
PARAMETERS: Mapping[str, Mapping[int, str]] = MappingProxyType({
    **{word: _SECOND_AND_THIRD if "cudnn" not in word else _SECOND for word in CONVOLUTIONS},
    **{f"conv{shape}{rank}d": _SECOND_AND_THIRD for shape in ("", "_transpose") for rank in (1, 2, 3)},
    **{word: _SECOND_AND_THIRD for word in WORDS_OF["norm"].split() if word.endswith("batch_norm")},
    "linear": _SECOND_AND_THIRD,
    "instance_norm": _SECOND_AND_THIRD,
    "batch_norm_legit": _SECOND_AND_THIRD,
    "batch_norm_legit_functional": _SECOND_AND_THIRD,
    "batch_norm_legit_no_training": _SECOND_AND_THIRD,
    "batch_norm_with_update": _SECOND_AND_THIRD,
    "layer_norm": {2: "weight", 3: "bias"},
    "fused_rms_norm": _THIRD,
    "rms_norm": _THIRD,
    "embedding": {0: "weight"},
    "embedding_bag": {0: "weight"},
    "prelu": _SECOND,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _THIRD),
    "cudnn_rnn": _SECOND,
    "miopen_rnn": _SECOND,
    "mkldnn_rnn_layer": {1: "weight", 2: "weight", 3: "bias", 4: "bias"},
    "prelu_kernel": _SECOND,
})  # fmt: skip
"""Arguments that are parameters wherever they come from outside, trained or frozen, by what they are called.

The positions of `group_norm` differ between the operation and its kernel; see `parameters_of`.
"""
