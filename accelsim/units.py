"""Powers of ten and two, and the only number formatting that users see."""

__all__ = ["GIGA", "KIBI", "MEBI", "PICO", "show"]

PICO = 1e-12
GIGA = 1e9
KIBI = 2**10
MEBI = 2**20

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def show(value: float, unit: str) -> str:
    """Return `value` with three significant digits, an SI prefix and its unit.

    >>> show(0.0123, "s"), show(76.8e9, "B/s"), show(0, "J"), show(999.96e-3, "s")
    ('12.3 ms', '76.8 GB/s', '0 J', '1.00 s')
    """
    if value == 0:
        return f"0 {unit}"
    for factor, prefix in _PREFIXES:
        scaled = value / factor
        if abs(float(f"{scaled:.3g}")) >= 1:
            return f"{_three_digits(scaled)} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    decimals = 0 if abs(rounded) >= 100 else 1 if abs(rounded) >= 10 else 2
    return f"{rounded:.{decimals}f}"
