"""How one's own images lie in folders, and what is refused because part of them would be missed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tta.datasets.scan import Place, Reason, Scan, scan
from tta.foundation.errors import UserError


@dataclass(frozen=True)
class Layout:
    """What a data set of one's own expects below its folder.

    Attributes:
        kind: name of the data set, as before the colon of its specification.
        depth: of the class folders: 1 for ``<class>/*``, 2 for ``<domain>/<class>/*``.
    """

    kind: str
    depth: int

    @property
    def words(self) -> str:
        """The layout, in words."""
        return "<domain>/<class>/*.jpg" if self.depth == 2 else "<class>/*.jpg"

    def read(self, root: Path) -> Scan:
        """List the images of a folder.

        Raises:
            UserError: there are none, a class or domain would be missed, or half of the images.
        """
        found = scan(root, self.depth)
        if not found.count:
            raise UserError(self._why_none(found))
        self._check_folders(found)
        self._check_half(found)
        return found

    def _why_none(self, found: Scan) -> str:
        root = str(found.root)
        if self.depth == 2 and any(len(place) == 1 for place in found.doubtful):
            return (
                f"{root!r} is laid out as <class>/*, without domains, but {self.kind}: expects "
                f"{self.words}; move its class folders into a folder with the name of their "
                f"domain (folder@gen:{root} is for clean images to be corrupted)"
            )
        if Reason.DEEP in found.left_out:
            return self._why_deeper(root, found.examples[Reason.DEEP])
        rest = found.words()
        return (
            f"{root!r} holds no images; lay them out as {self.words}, or with another suffix that "
            f"Pillow reads" + (f"; left out: {rest}" if rest else "")
        )

    def _why_deeper(self, root: str, example: str) -> str:
        top = example.split("/")[0]
        above = "the classes" if self.depth == 1 else "the domains"
        cure = f"name the folder above {above}, such as {self.kind}:{root}/{top}"
        if self.depth == 1:
            cure += f", or pass folder:{root} to stream <domain>/<class>/*"
        return (
            f"{root!r} is laid out deeper ({example!r}) than {self.kind}: expects, {self.words}; "
            f"{cure}"
        )

    def _check_folders(self, found: Scan) -> None:
        filled = {place[:-1] for place, names in found.images.items() if names}
        for place, names in found.images.items():
            missed = found.doubtful[place] or place in found.beside and place[:-1] in filled
            if not names and missed:
                raise UserError(self._missed("class", place, found))
        for place in found.doubtful:
            if len(place) == 1 and self.depth == 2 and place not in filled:
                raise UserError(self._missed("domain", place, found))

    def _missed(self, what: str, place: Place, found: Scan) -> str:
        return (
            f"{what} folder {str(found.root.joinpath(*place))!r} holds files, but no image of the "
            f"layout {self.words}, and would be missed; left out in all: {found.words()}; give "
            f"its images that layout and a suffix that Pillow reads, or take the folder out"
        )

    def _check_half(self, found: Scan) -> None:
        lost = sum(found.doubtful.values())
        if lost >= found.count:
            raise UserError(
                f"{str(found.root)!r}: {found.count} images are laid out as {self.words}, but "
                f"{lost} files that may be images are not; left out: {found.words()}; lay them "
                "out alike, or take them out of the folder"
            )
