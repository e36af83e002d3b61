"""The official frost textures below the data folder, which generated data sets cut frost from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tta.foundation.errors import UserError

FOLDER = "frost"
"""Below the data folder."""
SHA256 = {
    "frost1.png": "ff9f907860bd7a835d459e32f9d588062b7f61ee267343cc7222b56753a14755",
    "frost2.png": "fe211a89b336999c207a852ce05818d4545d0b57c5beadd824b4cc9d9a9b6137",
    "frost3.png": "2d0d50b4a9bb213f38b024ef7768731bb83cc08d2f26b5766bbc167cdfa0e504",
    "frost4.jpg": "3f8b91ca1a9fa7167b09e773da53f5ae60d0a1fd88f02a783f6e328a72887f6e",
    "frost5.jpg": "5fc6a19df4a429ba68abdcc8f8a4278d4c9f81c9ccafd2c92ab0c8cf8992ebd2",
    "frost6.jpg": "1f92b2f48408748085b68dd81d816ef239f42cef3029c25d041fcb6760fb4f25",
}
"""Of the pictures in ``ImageNet-C/create_c`` of github.com/hendrycks/robustness."""


def find_frost(data_dir: Path) -> Path | None:
    """Return the folder of the official frost textures, or None where there is none.

    Raises:
        UserError: the folder is there, but pictures are missing or others than the official ones.
    """
    folder = data_dir / FOLDER
    if not folder.is_dir():
        return None
    cure = (
        f"get them with `python -m tta.get frost --data-dir {data_dir}`, or remove the "
        "folder for procedural frost"
    )
    from tta.corruptions import frost_source  # torch, which names and checksums need not wait for

    try:
        frost_source(folder)
        other = [name for name, sha in SHA256.items() if _differs(folder / name, sha)]
    except OSError as error:
        raise UserError(
            f"frost textures in {str(folder)!r} cannot be read ({error.strerror}); {cure}"
        ) from error
    except UserError as error:
        raise UserError(f"{str(error).split(';')[0]}; {cure}") from error
    if other:
        raise UserError(
            f"{str(folder / other[0])!r} is not the official frost texture of that name; {cure}"
        )
    return folder


def _differs(file: Path, sha256: str) -> bool:
    return file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != sha256
