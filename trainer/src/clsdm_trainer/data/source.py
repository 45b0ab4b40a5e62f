"""A data set to prepare: which layout, where, and how its scans are split."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clsdm.errors import InputError
from clsdm_trainer.data.patients import several_scans
from clsdm_trainer.data.readers import READERS, Kind
from clsdm_trainer.data.scan import Rejected, Scan
from clsdm_trainer.data.splits import Splits, lidc_patient, read_id_list, split_by_hash, splits_from_file, x2ct_splits
from clsdm_trainer.files import write_text

SPLIT_FILE = "splits.json"


class SourceConfig(BaseModel):
    """One data set.

    At most one of ``split``, ``splits`` and ``x2ct_lists`` is given. With none, ``splits.json`` in the root is used if
    it is there, else each patient is assigned by a hash of the patient id with ``fractions``.

    Attributes:
        kind: layout; ``folder`` of NIfTI/NRRD/MetaImage, tree of ``dicom`` series, ``x2ct-hdf5``, ``ctspine1k``.
        root: its folder.
        split: all scans go here.
        splits: JSON file with lists of case or patient ids under train, val, test, auxiliary.
        x2ct_lists: published training and test list of the X2CT protocol.
        fractions: share of patients in train, val and test.
        patient_pattern: regular expression, searched in the case id; its first group (or its match) is the patient.
        one_scan_per_patient: ``folder`` only: every file is another patient, whatever the names look like.
        prefix: put before case ids and patient ids, to keep two data sets apart.
        public_ids: ``dicom`` only: PatientID is already de-identified (LIDC-IDRI) and may stand in the manifest.
        salt_file: ``dicom`` only: secret with which patient ids are hashed one way; made if it is not there. Keep it,
            and keep it out of the store: with it the same patient gets the same id again.
        limit: use only the first so many scans (to try things out).
        repeats: how often training draws each scan in an epoch; more than 1 for a region that matters but has few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    root: Path
    split: Literal["train", "val", "test", "auxiliary"] | None = None
    splits: Path | None = None
    x2ct_lists: tuple[Path, Path] | None = None
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    patient_pattern: str | None = None
    one_scan_per_patient: bool = False
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_-]*$")
    public_ids: bool = False
    salt_file: Path | None = None
    limit: int | None = Field(default=None, ge=1)
    repeats: int = Field(default=1, ge=1, le=1000)

    @field_validator("fractions")
    @classmethod
    def _fractions_are_shares(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) < 0.0 or abs(sum(value) - 1.0) > 1e-6:
            raise ValueError(f"expected three shares that add up to 1, got {value}")
        return value

    @field_validator("patient_pattern")
    @classmethod
    def _pattern_compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _one_way_to_split(self) -> SourceConfig:
        if sum(value is not None for value in (self.split, self.splits, self.x2ct_lists)) > 1:
            raise ValueError("give only one of split, splits and x2ct_lists")
        return self

    @model_validator(mode="after")
    def _dicom_ids_are_decided(self) -> SourceConfig:
        named = self.public_ids + (self.salt_file is not None)
        if self.kind == "dicom" and named != 1:
            raise ValueError("dicom: give either salt_file (own patients) or public_ids (a de-identified public set)")
        if self.kind != "dicom" and named:
            raise ValueError(f"public_ids and salt_file are for kind dicom, not {self.kind}")
        return self

    @classmethod
    def parse(cls, text: str) -> SourceConfig:
        """From a command line: ``KIND:ROOT[,option=value ...]``, with ``+`` between the parts of a value.

        ``folder:/data/openkbp``, ``dicom:C:\\lidc,public_ids=true,fractions=0.8+0.1+0.1``,
        ``x2ct-hdf5:/data/lidc,x2ct_lists=train.txt+test.txt``.

        Raises:
            InputError: unknown kind or option, or a value that does not fit.
        """
        kind, colon, rest = text.partition(":")
        names = "|".join(name for name in cls.model_fields if name not in ("kind", "root"))
        root, *options = re.split(rf",(?=(?:{names})=)", rest)
        if not colon or not root:
            raise InputError(
                f"source {text!r}: expected KIND:FOLDER[,option=value ...], KIND one of {', '.join(READERS)}"
            )
        for part in [*([] if Path(root).is_dir() else [root]), *(each for each in options if "_pattern" not in each)]:
            if unknown := re.search(r",([A-Za-z_]+)=", part):
                raise InputError(
                    f"source {text!r}: unknown option {unknown[1]!r}; expected some of {names.replace('|', ', ')}"
                )
        values: dict[str, object] = {"kind": kind, "root": root}
        for option in options:
            name, _, value = option.partition("=")
            values[name] = tuple(value.split("+")) if name in ("x2ct_lists", "fractions") else value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "options"
            raise InputError(f"source {text!r}: {where}: {first['msg']}") from None


def scans_of(source: SourceConfig) -> tuple[list[tuple[Scan, str]], list[Rejected]]:
    """The scans of a data set with the split of each, and those that cannot be placed.

    Raises:
        InputError: no such folder, or a split file that cannot be used.
    """
    if not source.root.is_dir():
        raise InputError(f"{source.root}: no such folder")
    listing = READERS[source.kind].find(source.root)
    scans, rejected = listing.scans, listing.rejected
    if source.salt_file is not None:
        salt = _salt(source.salt_file)
        scans = sorted((_anonymous(scan, salt) for scan in scans), key=lambda scan: scan.id)
        rejected = [
            Rejected(f"damaged{at}", "a file", "truncated or damaged DICOM file") for at in range(len(rejected))
        ]
    scans = [_named(scan, source) for scan in scans]
    if not scans:
        raise InputError(f"{source.root}: no scan of kind {source.kind!r} found")
    splits = _splits(source)
    placed: list[tuple[Scan, str]] = []
    for scan in scans:
        split = _split_of(scan, source, splits)
        if split is not None:
            placed.append((scan, split))
        elif splits is None or not splits.drops(scan.id, scan.patient):
            reason = f"{scan.source}: no split lists case {scan.id!r} or patient {scan.patient!r}"
            rejected.append(Rejected(scan.id, scan.source, reason))
    if splits is not None:
        rejected += _missing(splits, scans, source)
    _check_names(placed, source, by_hash=splits is None and source.split is None)
    return placed[: source.limit], rejected


def _check_names(placed: Iterable[tuple[Scan, str]], source: SourceConfig, *, by_hash: bool) -> None:
    """Refuse to spread over the splits what looks like several scans of a patient, unless it was said who is who."""
    if source.kind != "folder" or source.patient_pattern is not None or source.one_scan_per_patient:
        return
    split_of = {scan.id: split for scan, split in placed}
    alike = [names for names in several_scans([*split_of]).values() if by_hash or len({*map(split_of.get, names)}) > 1]
    if alike:
        raise InputError(
            f"{source.root}: {alike[0][0]!r} and {alike[0][1]!r} look like scans of one patient ({len(alike)} such "
            "groups), who would be on two sides of the split; name the patient in the file names with "
            r"patient_pattern=^([^_]+), or say that every file is another patient with --one-scan-per-patient"
        )


def _salt(path: Path) -> bytes:
    """The secret in ``path``, made on first use."""
    if not path.exists():
        write_text(path, secrets.token_hex(32))
    try:
        salt = path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(salt) < 16:
        raise InputError(f"{path}: expected a secret of at least 16 characters, found {len(salt)}")
    return salt


def _anonymous(scan: Scan, salt: bytes) -> Scan:
    """``scan`` under a one-way name, with nothing of the patient in what is written or said about it."""
    name = "p" + hmac.new(salt, scan.patient.encode(), "sha256").hexdigest()[:16]
    radiographs = tuple((f"{name}/radiograph{at}", path) for at, (_, path) in enumerate(scan.radiographs, 1))
    return replace(scan, id=name, patient=name, source=name, radiographs=radiographs)


def _named(scan: Scan, source: SourceConfig) -> Scan:
    patient = scan.patient
    if source.patient_pattern is not None:
        match = re.search(source.patient_pattern, scan.id)
        if match is None:
            raise InputError(f"{scan.source}: patient_pattern {source.patient_pattern!r} does not match {scan.id!r}")
        patient = match[1] if match.re.groups else match[0]
    return replace(scan, id=source.prefix + scan.id, patient=source.prefix + patient)


def _splits(source: SourceConfig) -> Splits | None:
    if source.x2ct_lists is not None:
        train, test = (read_id_list(path) for path in source.x2ct_lists)
        if source.kind == "dicom":  # a series is known by its patient; the lists name scans
            train, test = ([*dict.fromkeys(map(lidc_patient, ids))] for ids in (train, test))
        splits = x2ct_splits(train, test)
    elif source.splits is not None:
        splits = splits_from_file(source.splits)
    elif source.split is None and (source.root / SPLIT_FILE).is_file():
        splits = splits_from_file(source.root / SPLIT_FILE)
    else:
        return None
    prefixed = {source.prefix + name: split for name, split in splits.split_of.items()}
    return Splits(prefixed, frozenset(source.prefix + name for name in splits.dropped))


def _split_of(scan: Scan, source: SourceConfig, splits: Splits | None) -> str | None:
    if splits is not None:
        return splits.of(scan.id, scan.patient)
    return source.split or split_by_hash(scan.patient, source.fractions)


def _missing(splits: Splits, scans: Iterable[Scan], source: SourceConfig) -> list[Rejected]:
    """Listed, but not there: a benchmark that is silently incomplete is a different benchmark."""
    there = {name for scan in scans for name in (scan.id, scan.patient)}
    reason = f"{source.root}: the split lists {{!r}}, but there is no such scan"
    return [Rejected(name, name, reason.format(name)) for name in sorted(set(splits.split_of) - there)]
