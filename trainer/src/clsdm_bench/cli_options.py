"""The options of the commands of ``clsdm-bench``; each function takes ``add_argument`` of a command's parser."""

from collections.abc import Callable
from typing import Any

from clsdm.geometry.view import PRESETS
from clsdm_trainer.options import decimal, path, whole

Add = Callable[..., Any]
SEED = whole(0, 2**63 - 1)
PRODUCTS = ("mean", "sample", "ensemble")


def _device(add: Add) -> None:
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")


def _cases(add: Add, splits: list[str]) -> None:
    add("--cases", nargs="+", required=True, metavar="[GROUP=]PLACE",
        help="volume files, or folders of them, where a splits.json says which are whose")  # fmt: skip
    add("--split", nargs="+", choices=("train", "val", "test", "auxiliary"), default=splits,
        help=f"of folders with a splits.json (default: {' '.join(splits)})")  # fmt: skip
    _machine(add)
    add("--samples", type=whole(2, 1000), default=8, help="of an ensemble (default: %(default)s)")


def _publish(add: Add) -> None:
    add(
        "--publish",
        nargs="+",
        type=path,
        default=[],
        metavar="PAGE",
        help="put the tables between their marks in a page",
    )


def _machine(add: Add) -> None:
    add("--preset", choices=sorted(PRESETS), default="chest",
        help="machine, where files do not state their geometry (default: %(default)s)")  # fmt: skip


def _add_scored(add: Add) -> None:
    """Options of every command that compares volumes with scans."""
    add("--bundle", type=path, help="folder, archive or name of an embedded model (default: the first one)")
    add("--out", type=path, required=True, help="folder for X-rays, volumes, tables and pictures")
    add("--spacing", type=decimal(0.05, 25.0), default=3.0, metavar="MM",
        help="voxels on which volumes are compared (default: %(default)s)")  # fmt: skip
    add("--seed", type=SEED, default=0, help="of samples and noise (default: %(default)s)")
    _device(add)


def add_score(add: Add) -> None:
    _cases(add, ["test"])
    add("--products", nargs="+", choices=PRODUCTS, default=[*PRODUCTS], help="(default: all)")
    add("--conditions", nargs="+", metavar="NAME",
        help="of the X-rays: plain photons radiograph frontal wrong-angle shuffled (default: all)")  # fmt: skip
    add("--steps", type=whole(1, 1000), help="of each sample (default: the model's own)")
    _add_scored(add)
    _publish(add)


def _add_real(add: Add) -> None:
    add("--product", choices=PRODUCTS, default="mean", help="(default: %(default)s)")
    add("--limit", type=whole(1, 10**9), help="use only the first so many patients")
    _add_scored(add)


def add_localizers(add: Add) -> None:
    add("--data", type=path, required=True, help="DICOM tree, as The Cancer Imaging Archive gives it")
    _add_real(add)


def add_pairs(add: Add) -> None:
    add("--store", type=path, required=True, help="of clsdm-train prepare; lists the radiographs")
    add("--data", type=path, required=True, help="root of the data set that the store was made from")
    _machine(add)
    _add_real(add)


def add_numbers(add: Add) -> None:
    _add_numbers(add, ["test"])
    add("--cross", action="store_true",
        help="judge each patient by a table made of all others, not by the bundle's (jackknife)")  # fmt: skip
    add("--wrong", action="store_true", help="also hand in 40 wrong inputs and 40 right ones")
    add("--pictures", action="store_true", help="of each scan, what X-rays fix of it and how sure the rest is")
    add("--steady", action="store_true",
        help="also how far the measures scatter on the scans themselves: on other voxels, through the autoencoder")  # fmt: skip
    add("--tables", nargs="+", metavar="NAME", help="of the tables, the ones to publish (default: all that are made)")
    _publish(add)


def add_calibrate(add: Add) -> None:
    _add_numbers(add, ["train", "val"])
    add("--write", type=path, required=True, help="bundle folder to write; may be --bundle itself")


def _add_numbers(add: Add, splits: list[str]) -> None:
    _cases(add, splits)
    add("--bundle", type=path, help="folder, archive or name of an embedded model (default: the first one)")
    add("--folds", nargs="+", type=path, default=[], metavar="FOLD",
        help="bundles of the same recipe, each trained without some of the patients that --bundle was trained on: "
        "their errors on these count as its own")  # fmt: skip
    add("--out", type=path, required=True, help="folder for X-rays, volumes and tables; a call that was cut goes on")
    add("--products", nargs="+", choices=PRODUCTS, default=["mean", "ensemble"], help="(default: mean ensemble)")
    add("--conditions", nargs="+", metavar="NAME", default=["plain", "photons", "wrong-angle"],
        help="of the X-rays, as for score (default: plain photons wrong-angle)")  # fmt: skip
    _device(add)


def add_evaluate(add: Add) -> None:
    add("--bundle", type=path, required=True)
    add("--store", type=path, required=True)
    add("--out", type=path, required=True, help="folder for results.json, results.md, cases.csv")
    add("--split", choices=("test", "val"), default="test", help="(default: %(default)s)")
    add("--geometry", choices=sorted(PRESETS), default="chest", help="(default: %(default)s)")
    add("--angles", type=decimal(-720.0, 720.0), nargs="+", default=[0.0, 90.0], help="(default: 0 90)")
    add("--seeds", type=SEED, nargs="+", default=[0, 1, 2], help="of the samples (default: 0 1 2)")
    add("--samples", type=whole(2, 1000), default=8, help="of the ensemble (default: %(default)s)")
    _device(add)
    add("--products-only", action="store_true", help="leave the sanity rows out")
    add("--json", action="store_true", help="progress as JSON lines on standard output")


def add_benchmark(add: Add) -> None:
    _add_table(add)
    add("--store", type=path, required=True, help="folder of clsdm-train prepare; made from --data")
    add("--data", type=path, metavar="ROOT", help="public data set, prepared if the store is not there")
    add("--out", type=path, required=True, help="folder for runs, volumes and RESULTS.md")
    add("--records", type=path, help="folder of what is kept of the rows (default: OUT/records)")
    add("--only", nargs="+", default=[], metavar="ROW", help="rows (default: all)")
    add("--budget", type=whole(1, 10**12), metavar="SAMPLES", help="training samples of each method")
    add("--minutes-each", type=decimal(1e-3, 1e7), metavar="MINUTES",
        help="in place of --budget: training minutes of each method, by --speeds")  # fmt: skip
    add("--speeds", type=path, metavar="RECORDS", help="of a benchmark with --budget on this machine")
    add("--minutes", type=decimal(0.0, 1e7), help="stop after so long, to be continued by the same command")
    _device(add)
    add("--costs", action="store_true", help="measure anew what a case and the training cost, of all rows")
    add("--dry-run", action="store_true", help="print the runs with their samples, and stop")
    add("--json", action="store_true", help="log records as JSON lines on standard output")


def add_report(add: Add) -> None:
    _add_table(add)
    add("--records", type=path, required=True, help="folder of a benchmark's records")
    add("--page", type=path, metavar="FILE", help="Markdown file to write")
    add("--readme", type=path, metavar="FILE", help="file in which the comparison is to be replaced")


def _add_table(add: Add) -> None:
    add("--table", "--preset", default="body128", help="shipped table or YAML file (default: %(default)s)")
