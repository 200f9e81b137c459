"""Operations of torch by name, without leading underscores and `native_`: which are products, what vector work they
are, which only look at memory. Shared by the tracer and the readers of recordings, which see other devices too."""

import re

__all__ = [
    "CASTS",
    "CONVOLUTION",
    "CONVOLUTION_BACKWARD",
    "DISTRIBUTED",
    "FACTORIES",
    "FILLS",
    "HIDES_PRODUCTS",
    "JOINS",
    "KIND_OF",
    "MASKS",
    "MULTIPLY",
    "PERMUTES",
    "PRODUCTS",
    "READ_WHAT_THEY_WRITE",
    "RESHAPED",
    "SAME_CONTENT",
    "SELECTS",
    "SHOWN_AS",
    "WORDS_OF",
]

PRODUCTS = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "scaled_mm"), 0),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "sparse_addmm"), 1),
}
"""Matrix products, by the position of their first factor."""

MULTIPLY = frozenset({*PRODUCTS, "convolution", "convolution_backward"})
"""Everything that the array executes."""

WORDS_OF = {
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
KIND_OF = {word: kind for kind, words in WORDS_OF.items() for word in words.split()}
"""Kinds of vector work by name; any other is elementwise."""

READ_WHAT_THEY_WRITE = frozenset({"embedding", "embedding_bag", "index", "index_select", "gather"})
PERMUTES = frozenset({"index", "index_select", "gather"})
"""What puts weights in another order, where it returns as many as there are."""

SHOWN_AS = {
    "clone": "copy",
    **dict.fromkeys((word for word in WORDS_OF["norm"].split() if "batch_norm" in word), "batch_norm"),
    "safe_softmax": "softmax",
    "max_pool2d_with_indices": "max_pool2d",
    "mkldnn_max_pool2d": "max_pool2d",
    "max_pool3d_with_indices": "max_pool3d",
    "fused_dropout": "dropout",
}
"""Names of operations in a trace, where they are not their own."""
RESHAPED = frozenset({
    "unsafe_view", "reshape_alias", "transpose", "t", "squeeze", "unsqueeze", "swapaxes", "detach", "as_strided",
})  # fmt: skip
"""Views that a comparison of memory may miss, and views written in place (`transpose_`)."""

CASTS = frozenset({"to_copy", "lift_fresh", "lift_fresh_copy", "lift"})
SAME_CONTENT = CASTS | RESHAPED | {"clone", "repeat"}
JOINS = frozenset({"cat", "stack"})
SELECTS = frozenset({
    "abs", "topk", "sort", "argsort", "kthvalue", "scatter", "gt", "ge", "lt", "le", "eq", "ne",
    *(f"{prefix}_{word}" for prefix in ("logical", "bitwise") for word in ("and", "or", "not", "xor")),
})  # fmt: skip
"""What looks for the weights to keep, where it works on parameters alone."""

MASKS = frozenset({"mul", "where", "masked_fill"})
"""What applies a mask to weights."""

DISTRIBUTED = frozenset({"c10d", "_c10d_functional", "_dtensor", "fsdp"})
"""Namespaces of collectives, and of the copies around them."""

FACTORIES = re.compile(r"new_\w+|\w+_like|zero|fill|uniform|normal|random|bernoulli|exponential")
FILLS = frozenset({"zeros", "ones", "full", "new_zeros", "new_ones", "new_full"})
"""What makes a tensor of one number."""

HIDES_PRODUCTS = re.compile(
    r"(.*_)?(\w*mm|matmul|linear|bilinear|trilinear|conv\d?d?|convolution|conv_\w+|\w*rnn\w*|lstm\w*|gru\w*|attention"
    r"|attn|euclidean_dist|dot|einsum)"
    r"(_.*)?|linalg_.*|transformer_encoder_layer_fwd|scaled_dot_product_.*"
)
CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "transposed", "output_padding", "groups")
CONVOLUTION_BACKWARD = ("gradient", "input", "weight", "bias_sizes", *CONVOLUTION[3:], "output_mask")
