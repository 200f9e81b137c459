"""Opening the device that a user names, through the framework that is there."""

from accelsim.base.errors import InputError, to_install
from accelsim.calibration.devices.device import Device

__all__ = ["open_device"]


def open_device(where: str, framework: str | None) -> Device:
    """Return ``cpu`` or ``cuda`` through ``torch`` or ``numpy``, by default through torch if it is installed.

    Raises `InputError` where that cannot be.
    """
    if where == "cuda" and framework == "numpy":
        raise InputError("--framework numpy: measures CPUs; --device cuda needs torch")
    if framework != "numpy":
        try:
            from accelsim.calibration.devices.torch_device import TorchDevice  # noqa: PLC0415  heavy, and may be missing
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            if framework == "torch" or where == "cuda":
                raise InputError(f"measuring with torch needs PyTorch: {to_install('torch')}") from None
        else:
            return TorchDevice(where)
    from accelsim.calibration.devices.numpy_device import NumpyDevice  # noqa: PLC0415  heavy

    return NumpyDevice()
