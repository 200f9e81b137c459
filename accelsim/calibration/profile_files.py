"""From what a device says and a user states to the files of a calibrated platform."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelsim.base.errors import InputError, did_you_mean
from accelsim.base.files import Plain, validate
from accelsim.calibration.behaviour import Calibration
from accelsim.hardware.platform import PRECISIONS, Behaviour, Platform, rate_field
from accelsim.hardware.sourced import leaf_paths, read_scalar
from accelsim.hardware.sourced_text import SourcedValue, sourced_text, values_alone

__all__ = ["Identity", "calibrated_files", "check_facts", "facts_of", "stated_facts"]

_SECTIONS = ("compute", "memory", "power")
_MEASURED = {
    "compute.fp32_tflops": 1.0,
    "compute.fp16_tflops": 1.0,
    "compute.sparse_2_4": False,
    "memory.bandwidth_gb_per_s": 1.0,
}
"""Facts that are measured where nothing is stated, each with a value to check the others with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a calibrated platform is: its file `name`, `kind` as in `Platform`, the name of the `device` and others."""

    name: str
    kind: str
    device: str
    aliases: tuple[str, ...] = ()

    @property
    def plain(self) -> dict[str, Plain]:
        """The keys of the platform that need no source."""
        aliases = list(dict.fromkeys([*self.aliases, self.device]))
        return {
            "format": "accelsim-platform/1",
            "name": self.name,
            "description": f"{self.device}, calibrated",
            "kind": self.kind,
            "aliases": [alias for alias in aliases if alias.casefold() != self.name.casefold()],
            "behaviour": f"{self.name}.behaviour.yaml",
        }


def facts_of(platform: Platform) -> dict[str, SourcedValue]:
    """Return the facts of a platform by dotted path, with their sources."""
    found = {}
    data = platform.model_dump(mode="json", include=set(_SECTIONS))
    for origin in platform.provenance:
        section, _, key = origin.path.rpartition(".")
        if section in _SECTIONS and data[section][key] is not None:
            found[origin.path] = SourcedValue(data[section][key], origin.source, origin.confidence)
    return found


def stated_facts(peaks: Sequence[str], settings: Sequence[str]) -> dict[str, SourcedValue]:
    """Return what ``--peak PRECISION=TFLOPS`` and ``--set PATH=VALUE`` state, by dotted path."""
    legal = [path for path in leaf_paths(Platform) if path.partition(".")[0] in _SECTIONS]
    found: dict[str, SourcedValue] = {}
    for option, texts in (("--peak", peaks), ("--set", settings)):
        for text in texts:
            key, equals, value = (part.strip() for part in text.partition("="))
            if not equals or not value:
                example = "fp16=989" if option == "--peak" else "power.peak_w=700"
                raise InputError(f"{option} {text}: expected {example.partition('=')[0]}=VALUE, as in {example}")
            if option == "--peak" and key not in PRECISIONS:
                hint = did_you_mean(key, PRECISIONS)
                raise InputError(f"--peak {key}: no such precision{hint}; allowed: {', '.join(PRECISIONS)}")
            path = f"compute.{rate_field(key)}" if option == "--peak" else key
            if path not in legal:
                raise InputError(f"--set {path}: no such fact{did_you_mean(path, legal)}; allowed: {', '.join(legal)}")
            if path in found:
                raise InputError(f"{option} {text}: {path} is stated twice")
            number = read_scalar(value)
            number = float(number) if type(number) is int and path != "compute.multiprocessors" else number
            # a peak is taken from a data sheet, which we have not seen
            confidence = "quoted" if option == "--peak" else "assumption"
            found[path] = SourcedValue(number, f"stated as {option} {text}", confidence)
    return found


def check_facts(identity: Identity, facts: Mapping[str, SourcedValue]) -> None:
    """Raise `InputError` for facts that are out of range, or that nobody knows and nothing measures."""
    optional = {f"compute.{rate_field(precision)}" for precision in PRECISIONS}
    needed = [path for path in leaf_paths(Platform) if path.partition(".")[0] in _SECTIONS and path not in optional]
    missing = [path for path in needed if path not in facts and path not in _MEASURED]
    if missing:
        options = " ".join(f"--set {path}=..." for path in missing)
        raise InputError(f"{', '.join(missing)}: not known of {identity.device}; state with {options}")
    trial = {path: SourcedValue(value, "", "") for path, value in _MEASURED.items()}
    validate(Platform, values_alone(identity.plain, {**trial, **facts}), "facts")


def calibrated_files(identity: Identity, calibration: Calibration) -> dict[str, str]:
    """Return the texts of the platform and of its behaviour, checked, by file name."""
    order = [path for path in leaf_paths(Platform) if path in calibration.platform]
    platform = {path: calibration.platform[path] for path in order}
    behaviour = {path: calibration.behaviour[path] for path in leaf_paths(Behaviour)}
    plain: dict[str, Plain] = {
        "format": "accelsim-behaviour/1",
        "name": identity.name,
        "description": f"{identity.device}, measured by accelsim calibrate",
    }
    comment = f"Written by accelsim calibrate; {identity.name}.measurements.csv holds what was measured."
    files = {}
    for model, keys, values, ending in (
        (Platform, identity.plain, platform, ".yaml"),
        (Behaviour, plain, behaviour, ".behaviour.yaml"),
    ):
        validate(model, values_alone(keys, values), f"{identity.name}{ending}")
        files[f"{identity.name}{ending}"] = sourced_text(comment, keys, values)
    return files
