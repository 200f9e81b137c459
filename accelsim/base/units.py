"""Powers of ten and two, and the only number formatting that users see."""

__all__ = ["GIGA", "JOULES_PER_WH", "KIBI", "MEBI", "MEGA", "MICRO", "NANO", "PICO", "TERA", "show", "show_duration"]

PICO = 1e-12
NANO = 1e-9
MICRO = 1e-6
MEGA = 1e6
GIGA = 1e9
TERA = 1e12
KIBI = 2**10
MEBI = 2**20
JOULES_PER_WH = 3600

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
_SPANS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


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


def show_duration(seconds: float) -> str:
    """Return a time in its two largest units, as a person says it; below a minute as `show` does.

    >>> show_duration(450_000), show_duration(3599.9), show_duration(75.2), show_duration(0.0123)
    ('5 d 5 h', '1 h 0 min', '1 min 15 s', '12.3 ms')
    """
    for size, unit, part, part_unit in _SPANS:
        whole, rest = divmod(round(seconds / part), size // part)
        if whole:
            return f"{whole:,} {unit} {rest} {part_unit}"
    return show(seconds, "s")
