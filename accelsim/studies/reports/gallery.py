"""The gallery: a small picture of every kind of figure, and the commands that draw it.

``python -m accelsim.studies.reports.gallery reports/gallery`` makes it again; what takes long is drawn from the reports
beside it.
"""

import io
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from accelsim.base.errors import AccelsimError
from accelsim.base.files import write_atomically, write_bytes_atomically

__all__ = ["PICTURES", "Picture", "write_gallery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A kind of figure with what it says here, the arguments of ``accelsim plot`` after it, and what makes its files.

    `made_by` are commands without ``accelsim``.
    """

    kind: str
    says: str
    plot: str
    made_by: tuple[str, ...] = ()


_COMPARE = (
    "compare resnet9_cifar10 vgg19_cifar100 vit_cifar100 resnet18_tinyimagenet resnet50_imagenet"
    " --method dense --method sr-ste --method sdgp --method bdwp -o compare.json"
)
_ONE = "simulate resnet50_imagenet -o resnet50.json"
_METHODS = (
    "compare resnet50_imagenet --method dense --method sr-ste --method sdgp --method bdwp --method mvue -o methods.json"
)
_SWEEP = (
    "sweep resnet18_tinyimagenet --vary array.rows=8,16,32,64 --vary array.cols=8,16,32,64 --pattern 2:4,2:8,1:8"
    " --batch 64 -o points.csv"
)
_PHASES = (
    "simulate --phase resnet9_digits_pruned:200 --phase resnet9_digits_2of4:400"
    " --phase resnet9_digits_bdwp_2of8:400 -o masks.json"
)
_PLATFORMS = (
    "compare resnet18_tinyimagenet resnet50_imagenet --method dense --method bdwp --batch 64 --platform jetson_nano"
    " --platform jetson_xavier_nx --platform rtx2080ti --platform a100_sxm_80gb --platform h100_sxm -o machines.csv"
)

PICTURES = (
    Picture(kind="speedup", says="Which method gains most, and where?", plot="compare.json", made_by=(_COMPARE,)),
    Picture(
        kind="stages",
        says="Where does the time of a step go?",
        plot="compare.json --where method=dense --where method=bdwp",
        made_by=(_COMPARE,),
    ),
    Picture(
        kind="energy",
        says="Where does its energy go?",
        plot="compare.json --where method=dense --where method=bdwp",
        made_by=(_COMPARE,),
    ),
    Picture(
        kind="training",
        says="What do the phases of a training run take?",
        plot="decay.json bdwp.json",
        made_by=(
            "simulate resnet50_imagenet --method stepwise-decay --epochs 90 --dataset-size 1281167 -o decay.json",
            "simulate resnet50_imagenet --method bdwp --epochs 90 --dataset-size 1281167 -o bdwp.json",
        ),
    ),
    Picture(
        kind="phases",
        says="What do my masks gain over a training run?",
        plot="masks.json --value 2:8",
        made_by=(_PHASES,),
    ),
    Picture(kind="layer-speedup", says="Which layers gain?", plot="methods.json --width double", made_by=(_METHODS,)),
    Picture(
        kind="utilisation",
        says="Which layers leave the array idle?",
        plot="resnet50.json --width double",
        made_by=(_ONE,),
    ),
    Picture(kind="mapping", says="Which dataflow runs each?", plot="resnet50.json --width double", made_by=(_ONE,)),
    Picture(kind="roofline", says="What limits each layer?", plot="resnet50.json", made_by=(_ONE,)),
    Picture(
        kind="timeline",
        says="What do the units do at the same time?",
        plot="timeline.json --width double",
        made_by=("simulate resnet18_tinyimagenet --engine event --timeline timeline.json",),
    ),
    Picture(
        kind="sweep",
        says="What does one more value of a parameter bring?",
        plot="points.csv --where array.cols=32 -y samples_per_s",
        made_by=(_SWEEP,),
    ),
    Picture(
        kind="sweep-map",
        says="How do two parameters act together?",
        plot="points.csv --where pattern=2:8 --value speedup",
        made_by=(_SWEEP,),
    ),
    Picture(
        kind="pareto", says="Which compromises are worth a look?", plot="points.csv -y power_w", made_by=(_SWEEP,)
    ),
    Picture(
        kind="sensitivity",
        says="Which assumptions matter?",
        plot="reports/paper/sensitivity.csv reports/paper/speedups.csv",
    ),
    Picture(kind="platforms", says="What would I use instead?", plot="machines.csv", made_by=(_PLATFORMS,)),
    Picture(
        kind="predicted", says="How far off are predictions?", plot="reports/validation/overlap.csv",
    ),
    Picture(kind="claims", says="What does the paper say?", plot="reports/paper/speedups.csv"),
    Picture(kind="ablation", says="What does each technique bring?", plot="reports/ablation/ablation.csv"),
)  # fmt: skip

_PALETTE = 128  # colours


def write_gallery(folder: Path) -> None:
    """Write a ``.png`` of every kind and a ``README.md`` that shows them into `folder`, which stands among the reports.

    Raises `AccelsimError` with the command that failed.
    """
    reports = folder.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "reports").symlink_to(reports)
        for command in dict.fromkeys(command for picture in PICTURES for command in picture.made_by):
            _run(command, work)
        for picture in PICTURES:
            _run(_plot(picture), work)
            write_bytes_atomically(folder / f"{picture.kind}.png", _small(work / f"{picture.kind}.png"))
    write_atomically(folder / "README.md", "\n".join(_page()) + "\n")


def _small(path: Path) -> bytes:
    """A picture with a palette, which is a third as large; Pillow comes with matplotlib."""
    packed = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(_PALETTE).save(packed, "png", optimize=True)
    return packed.getvalue()


def _plot(picture: Picture) -> str:
    width = "" if "--width" in picture.plot else " --width single"
    return f"plot {picture.kind} {picture.plot}{width} -o {picture.kind}.png"


def _run(command: str, folder: Path) -> None:
    """Run a command line of ours in a folder, as a user does."""
    words = [sys.executable, "-m", "accelsim", *shlex.split(command)]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise AccelsimError(f"accelsim {command}: {done.stdout.strip()}")


def _page() -> Iterator[str]:
    yield "# Gallery"
    yield ""
    yield "Made by `python -m accelsim.studies.reports.gallery reports/gallery`."
    yield "Every kind of figure, and the commands that draw it;"
    yield "`-o FIG.svg` and `-o FIG.pdf` work as well, and the data of a figure go beside it as `.csv`."
    for picture in PICTURES:
        yield ""
        yield f"## {picture.kind}: {picture.says}"
        yield ""
        yield f"![{picture.kind}]({picture.kind}.png)"
        yield ""
        yield "```sh"
        yield from (f"accelsim {command}" for command in (*picture.made_by, _plot(picture)))
        yield "```"


if __name__ == "__main__":
    write_gallery(Path(sys.argv[1]))
