"""Multi-domain data sets as ``<domain>/<class>/``: PACS and Office-Home.

``NAME`` has all domains. ``NAME:DOMAIN`` has one, and the others are its source domains, which
``NAME-source:DOMAIN`` has.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tta.datasets.benchmark import Benchmark
from tta.datasets.class_folders import ClassFolders
from tta.datasets.facts import DatasetFacts
from tta.datasets.resizing import Resizing
from tta.foundation.errors import UserError, did_you_mean


class DomainFolders(ClassFolders):
    """The domains of a folder, or one of them, or all but one.

    DomainBed's code gives every image the size of the backbone without keeping its aspect ratio,
    by the bilinear filter; ``resizing`` does the same.

    Attributes:
        root: of the domains, below the data folder.
        held_out: the one domain that has been named, or "".
    """

    root: ClassVar[str]
    base_name: ClassVar[str]
    argument = "held_out"
    resizing = Resizing("squash")
    benchmark = Benchmark(batch_size=32)

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        published = type(self).domains
        if argument and argument not in published:
            hint = did_you_mean(argument, published)
            raise UserError(f"{self.facts.title} has no domain {argument!r}; {hint}")
        self.held_out = argument
        self.name = f"{self.base_name}:{argument}" if argument else self.base_name
        if argument:
            self.domains = tuple(name for name in published if self._keeps(name))

    def _keeps(self, domain: str) -> bool:
        return domain == self.held_out

    def folder(self, domain: str, severity: int) -> Path:
        return self.data_dir / self.root / domain

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The class folders that the domains agree on, sorted."""
        found = {domain: set(self.subfolders(self.folder(domain, 0))) for domain in self.domains}
        names = set().union(*found.values())
        for domain, present in found.items():
            odd = sorted(names - present)
            if odd:
                raise self.fault(
                    f"class folder {odd[0]!r} of another domain is missing from "
                    f"{str(self.folder(domain, 0))!r}"
                )
        if len(names) != self.num_classes:
            raise self.fault(
                f"{str(self.data_dir / self.root)!r} has {len(names)} class folders per domain "
                f"where {self.facts.title} has {self.num_classes}"
            )
        return tuple(sorted(names))


class TargetDomains(DomainFolders):
    """Domains to test on."""

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        if argument:
            source = f"{self.base_name}-source:{argument}"
            self.benchmark = self.benchmark.but(source=source)


class SourceDomains(DomainFolders):
    """Domains to train on: all but the one that is named."""

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.name = (
            f"{self.base_name}-source:{argument}" if argument else f"{self.base_name}-source"
        )

    def _keeps(self, domain: str) -> bool:
        return domain != self.held_out


class _Pacs:
    base_name = "pacs"
    root = "PACS"
    domains = ("art_painting", "cartoon", "photo", "sketch")
    facts = DatasetFacts(
        "PACS",
        7,
        {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
        "research use; none is given",
        "https://domaingeneralization.github.io",
        get="pacs",
        metric="accuracy",
    )


class _OfficeHome:
    base_name = "office-home"
    root = "OfficeHomeDataset_10072016"
    domains = ("Art", "Clipart", "Product", "Real World")
    facts = DatasetFacts(
        "Office-Home",
        65,
        {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357},
        "non-commercial research use",
        "https://www.hemanthdv.org/officeHomeDataset.html",
        get="office-home",
        metric="accuracy",
    )


class Pacs(_Pacs, TargetDomains):
    """``pacs``: PACS (Li et al., ICCV 2017), or its domain ``:DOMAIN``."""


class PacsSource(_Pacs, SourceDomains):
    """``pacs-source``: the domains of PACS that train a model for ``:DOMAIN``."""


class OfficeHome(_OfficeHome, TargetDomains):
    """``office-home``: Office-Home (Venkateswara et al., CVPR 2017), or its domain ``:DOMAIN``."""


class OfficeHomeSource(_OfficeHome, SourceDomains):
    """``office-home-source``: the domains of Office-Home that train a model for ``:DOMAIN``."""
