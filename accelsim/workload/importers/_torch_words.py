"""Operations of torch by name, and where their arguments stand, in recordings of CPUs and GPUs alike."""

import re
from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "ATTENTION",
    "CONVOLUTIONS",
    "HIDES_PRODUCTS",
    "KIND_OF",
    "LIKE_FIRST",
    "MASKS",
    "NOT_COUNTED",
    "PARAMETERS",
    "PRODUCTS",
    "READ_WHAT_THEY_WRITE",
    "SAME_CONTENT",
    "SELECTS",
    "SHOWN_AS",
    "VIEWS",
]

PRODUCTS: Mapping[str, int] = MappingProxyType({
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "scaled_mm"), 0),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv"), 1),
})  # fmt: skip
"""Matrix products, by the position of their first factor."""

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

_KINDS = {
    "norm": "batch_norm batch_norm_legit batch_norm_legit_functional batch_norm_legit_no_training"
    " batch_norm_with_update cudnn_batch_norm miopen_batch_norm layer_norm group_norm fused_rms_norm",
    "activation": "relu relu6 gelu silu sigmoid tanh elu celu selu leaky_relu hardtanh hardswish hardsigmoid mish"
    " softplus softshrink hardshrink glu threshold log_sigmoid_forward prelu_kernel rrelu_with_noise clamp_min",
    "pooling": "max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d"
    " mkldnn_max_pool2d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d",
    "add": "add sub rsub",
    "multiply": "mul div",
    "softmax": "softmax log_softmax safe_softmax",
    "embedding": "embedding embedding_bag",
    "dropout": "dropout fused_dropout",
    "reduce": "sum mean amax amin max min argmax argmin prod var var_mean std std_mean norm linalg_vector_norm"
    " logsumexp cumsum any all",
    "loss": "nll_loss_forward nll_loss2d_forward mse_loss binary_cross_entropy smooth_l1_loss huber_loss",
    "copy": "clone copy cat stack constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d index"
    " index_select gather slice_scatter select_scatter roll flip repeat repeat_interleave im2col col2im pixel_shuffle"
    " pixel_unshuffle",
}
KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
"""Kinds of vector work by name, without leading underscores and `native_`; any other is elementwise."""

LIKE_FIRST = frozenset(
    word
    for kind in ("norm", "activation", "softmax", "dropout")
    for word in _KINDS[kind].split()
    if word not in {"glu", "prelu_kernel"}
) | {"clone", "roll", "flip", "cumsum", "tril", "triu", "nan_to_num", "clamp", "masked_fill"}
"""Operations whose result has the shape of their first operand."""

READ_WHAT_THEY_WRITE = frozenset({"embedding", "embedding_bag", "index", "index_select", "gather"})
SHOWN_AS: Mapping[str, str] = MappingProxyType({
    "clone": "copy",
    **dict.fromkeys(
        ("batch_norm_legit", "batch_norm_legit_functional", "batch_norm_legit_no_training", "batch_norm_with_update",
         "cudnn_batch_norm", "miopen_batch_norm"), "batch_norm",
    ),
    "safe_softmax": "softmax",
    "max_pool2d_with_indices": "max_pool2d",
    "mkldnn_max_pool2d": "max_pool2d",
    "max_pool3d_with_indices": "max_pool3d",
    "fused_dropout": "dropout",
})  # fmt: skip

_VIEWS = (
    "alias as_strided detach diagonal expand permute real reshape_alias select slice split split_with_sizes squeeze"
    " swapaxes t transpose unbind unfold unsafe_split unsafe_split_with_sizes unsafe_view unsqueeze view"
    " view_as_complex view_as_real"
)
MASKS = frozenset({"mul", "where", "masked_fill"})
"""What applies a mask to weights."""

SELECTS = frozenset({
    "abs", "topk", "sort", "argsort", "kthvalue", "scatter", "gt", "ge", "lt", "le", "eq", "ne",
    *(f"{prefix}_{word}" for prefix in ("logical", "bitwise") for word in ("and", "or", "not", "xor")),
})  # fmt: skip
"""What looks for the weights to keep, where it works on parameters alone."""

VIEWS = frozenset(_VIEWS.split())
_CASTS = frozenset({"to_copy", "lift_fresh", "lift_fresh_copy", "lift"})
SAME_CONTENT = _CASTS | {"clone", "repeat", "unsafe_view", "reshape_alias", "transpose", "t", "squeeze", "unsqueeze",
                         "swapaxes", "detach"}  # fmt: skip
"""What hands on its first operand as it is."""

NOT_COUNTED = re.compile(
    "|".join((*VIEWS, *_CASTS))
    + r"|new_\w+|\w+_like|zero|fill|uniform|normal|random|bernoulli|exponential|geometric|log_normal|cauchy"
    r"|empty\w*|zeros|ones|full|arange|linspace|logspace|eye|rand|randn|randint|randperm|tri[lu]_indices|scalar_tensor"
    r"|set|resize|local_scalar_dense|item|record_stream|assert_async|is_\w+|cudnn_is_\w+|has_\w+|nested_\w+|foreach_\w+|amp_\w+|(un)?flatten_dense_tensors|pin_memory"
)
"""Views, casts, new tensors and questions about them: no work of a layer."""

HIDES_PRODUCTS = re.compile(
    r"(.*_)?(\w*mm|matmul|linear|bilinear|trilinear|conv\w*|\w*rnn\w*|lstm\w*|gru\w*|attention|attn|cdist|dot|einsum)"
    r"(_.*)?|linalg_.*|transformer_encoder_layer_fwd|scaled_dot_product_.*"
)

_SECOND, _SECOND_AND_THIRD, _THIRD = {1: "weight"}, {1: "weight", 2: "bias"}, {2: "weight"}
PARAMETERS: Mapping[str, Mapping[int, str]] = MappingProxyType({
    **{word: _SECOND_AND_THIRD if "cudnn" not in word else _SECOND for word in CONVOLUTIONS},
    **{f"conv{shape}{rank}d": _SECOND_AND_THIRD for shape in ("", "_transpose") for rank in (1, 2, 3)},
    **{word: _SECOND_AND_THIRD for word in _KINDS["norm"].split() if word.endswith("batch_norm")},
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
