"""An independent count of the multiply-accumulates of a training step: exact shape rules for what torch dispatches."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode

FACTORS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}


class Count(TorchDispatchMode):
    """Sums the products of matrices and of convolutions without groups or borders; other products stop the test."""

    def __init__(self):
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__.rstrip("_")
        assert name not in {"mv", "dot", "addmv", "_scaled_mm", "_int_mm"}, name
        if name in FACTORS:
            left, right = args[FACTORS[name] : FACTORS[name] + 2]
            self.macs += left.numel() * right.shape[-1]
        elif name == "convolution":
            self.macs += out.numel() * args[1][0].numel()
        elif name == "convolution_backward":
            self.macs += sum(args[10][:2]) * args[0].numel() * args[2][0].numel()
        return out


class Stacks(TorchDispatchMode):
    """Counts the products of stacks of matrices by their sizes: (matrices, m, k, n)."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ == "bmm":
            self.seen[*args[0].shape, args[1].shape[-1]] += 1
        return func(*args, **(kwargs or {}))
