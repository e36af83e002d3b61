"""DomainNet-126 (Saito et al., ICCV 2019): four domains, a source model for each.

Below the data folder:

    DomainNet-126/<domain>/<class>/*.jpg   the cleaned version of DomainNet (Peng et al., 2019)
    DomainNet-126/<domain>_list.txt        lines ``<domain>/<class>/<file> <label>``

``domainnet126:SOURCE`` is the three other domains in the order of the papers; every image of a
domain is in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tta.datasets.benchmark import Benchmark
from tta.datasets.facts import DatasetFacts
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.packed_names import PackedNames
from tta.datasets.resizing import Resizing
from tta.datasets.stored import StoredDataset
from tta.foundation.errors import UserError, did_you_mean

TARGETS = {
    "real": ("clipart", "painting", "sketch"),
    "clipart": ("sketch", "real", "painting"),
    "painting": ("real", "sketch", "clipart"),
    "sketch": ("painting", "clipart", "real"),
}
"""By source domain: the target domains in order."""


class _DomainNet126(StoredDataset, ImageFileDataset):
    """Images of list files, resized to 256x256 (bilinear) and cropped to 224."""

    facts = DatasetFacts(
        "DomainNet-126",
        126,
        {"clipart": 18_523, "painting": 30_042, "real": 69_622, "sketch": 24_147},
        "research use (fair use notice of its authors)",
        "http://ai.bu.edu/M3SDA/",
        get="domainnet126",
        metric="accuracy",
    )
    argument = "choice"
    named_by_list = True
    resizing = Resizing("squash", crop=224 / 256)
    benchmark = Benchmark(batch_size=128)

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._source_domain = argument or "real"
        if self._source_domain not in TARGETS:
            hint = did_you_mean(argument, TARGETS)
            raise UserError(f"DomainNet-126 has no domain {argument!r}; {hint}")
        self._lists: dict[str, tuple[PackedNames, np.ndarray]] = {}

    @property
    def root(self) -> Path:
        """Folder of the domains and their lists."""
        return self.data_dir / "DomainNet-126"

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._list(domain)[1]

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self.root / self._list(domain)[0][index]

    def _list(self, domain: str) -> tuple[PackedNames, np.ndarray]:
        if domain not in self._lists:
            self._lists[domain] = self._read_list(domain)
        return self._lists[domain]

    def _read_list(self, domain: str) -> tuple[PackedNames, np.ndarray]:
        file = self.root / f"{domain}_list.txt"
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise self.fault(f"no list {str(file)!r}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise self.fault(f"list {str(file)!r} cannot be read ({error})") from error
        pairs = [self._pair(line, domain, file) for line in lines if line.strip()]
        expected = self.facts.images_of(domain)
        if len(pairs) != expected:
            raise self.fault(f"list {str(file)!r} has {len(pairs)} images, not {expected}")
        labels = np.array([label for _, label in pairs], np.int64)
        return PackedNames(name for name, _ in pairs), labels

    def _pair(self, line: str, domain: str, file: Path) -> tuple[str, int]:
        name, _, label = line.strip().rpartition(" ")
        inside = name.startswith(f"{domain}/") and ".." not in name.split("/")
        if not (inside and label.isdecimal() and int(label) < self.num_classes):
            raise self.fault(
                f"list {str(file)!r} has a line {line!r} where {domain}/<class>/<file> and a label "
                f"below {self.num_classes} are expected"
            )
        return name, int(label)


class DomainNet126(_DomainNet126):
    """``domainnet126``: targets of the source domain "real", or of ``:SOURCE``."""

    domains = TARGETS["real"]
    benchmark = _DomainNet126.benchmark.but(
        backbone="resnet50_bottleneck256", preset="domainnet126"
    )

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.name = f"domainnet126:{self._source_domain}"
        self.domains = TARGETS[self._source_domain]
        source = f"domainnet126-source:{self._source_domain}"
        self.benchmark = self.benchmark.but(source=source)


class DomainNet126Source(_DomainNet126):
    """``domainnet126-source``: the images of the source domain "real", or of ``:SOURCE``."""

    domains = ("real",)

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.name = f"domainnet126-source:{self._source_domain}"
        self.domains = (self._source_domain,)
