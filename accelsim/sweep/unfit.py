"""What commands say of designs that their device cannot hold."""

from collections.abc import Mapping, Sequence

from accelsim.base.files import Value

__all__ = ["unfit_line"]


def unfit_line(rows: Sequence[Mapping[str, Value]], what: str) -> str | None:
    """Say how many of `rows` do not fit their device, where some do not: ``14 of the best 20 do not fit ...``."""
    unfit = [row for row in rows if row.get("fits") in {False, "false"}]
    if not unfit:
        return None
    designs = list(dict.fromkeys(str(row["design"]) for row in unfit if row.get("design")))
    device = f"the device of {designs[0]}" if len(designs) == 1 else "their devices"
    verb = "does" if len(unfit) == 1 else "do"
    return f"{len(unfit):,} of {what} {verb} not fit {device} (estimate; --where fits leaves out what does not)"
