"""The version of accelsim, which results and files carry."""

__all__ = ["__version__"]

__version__ = "0.1.0"
