"""Files that hold weights in other forms than are read here, told by their content."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple, NoReturn

from tta.foundation.errors import UserError
from tta.foundation.inputs import shown_path

HEAD_BYTES = 512
_EXPORT = "export the weights of the PyTorch network that it was made from with torch.save or"
_TO_SAFETENSORS = f"{_EXPORT} safetensors"
_OTHER_FRAMEWORK = (
    "convert it to the key names of the timm architecture and save that as safetensors"
)
_UNPACK = "unpack it and name the file in it"


class _Kind(NamedTuple):
    start: int
    magic: bytes
    what: str
    cure: str


_KINDS = (
    _Kind(0, b"\x89HDF\r\n", "an HDF5 file, as Keras writes", _OTHER_FRAMEWORK),
    _Kind(0, b"\x93NUMPY", "a NumPy array", _OTHER_FRAMEWORK),
    _Kind(0, b"GGUF", "a GGUF file", _TO_SAFETENSORS),
    _Kind(4, b"TFL3", "a TensorFlow Lite model", _OTHER_FRAMEWORK),
    _Kind(0, b"\x1f\x8b", "compressed by gzip", _UNPACK),
    _Kind(0, b"BZh", "compressed by bzip2", _UNPACK),
    _Kind(0, b"\xfd7zXZ\x00", "compressed by xz", _UNPACK),
    _Kind(0, b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    _Kind(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    _Kind(0, b"Rar!", "a RAR archive", _UNPACK),
    _Kind(
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS in place of the weights",
        "get the file itself with 'git lfs pull'",
    ),
)
# The first fields of a protocol buffer: a version and what may follow it.
_ONNX_HEADS = tuple(bytes((8, version)) for version in range(3, 32))
_ONNX_NEXT = b"\x12\x1a\x22\x28\x32\x3a\x42"
_SAVED_MODEL = b"\x08\x01\x12"
_TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_BY_SUFFIX = {
    ".onnx": "an ONNX model",
    ".pb": "a TensorFlow graph",
    ".msgpack": "a Flax checkpoint",
    ".mlmodel": "a Core ML model",
    ".engine": "a TensorRT engine",
}


def refuse_foreign(path: Path, head: bytes) -> None:
    """Refuse a file that is neither of safetensors nor of ``torch.save``, by what it is.

    Args:
        path: the file.
        head: its first :data:`HEAD_BYTES`.

    Raises:
        UserError: it is of a kind that is known here.
    """
    if not head:
        _refuse(path, "is empty", "download it again")
    if head.lstrip().startswith(b"<"):
        _refuse_markup(path, head)
    for kind in _KINDS:
        if head.startswith(kind.magic, kind.start):
            _refuse(path, f"is {kind.what}", kind.cure)
    if head.startswith(b"PK\x03\x04"):
        _refuse_other_zip(path)
    if head[257:262] == b"ustar":
        _refuse_tar(path, head)
    if head.lstrip().startswith(b"{"):
        _refuse(
            path,
            "is a text of JSON, not weights",
            "name the checkpoint beside it; where an index lists several files, save their "
            "tensors as one",
        )
    _refuse_protocol_buffer(path, head)


def refuse_unknown(path: Path, head: bytes) -> NoReturn:
    """Refuse a file of a kind that is not known here.

    Raises:
        UserError: always.
    """
    what = _BY_SUFFIX.get(path.suffix.lower())
    if what is not None:
        _refuse(path, f"is {what}", _TO_SAFETENSORS)
    _refuse(
        path,
        f"is neither a safetensors file nor one of torch.save (it begins with {head[:8]!r})",
        "name a checkpoint",
    )


def _refuse_markup(path: Path, head: bytes) -> NoReturn:
    if head.lstrip().startswith(b"<?xml"):
        _refuse(path, "is a text of XML, not weights", "name a safetensors file")
    _refuse(
        path,
        "is a web page, not weights: its download failed",
        "download the file itself again",
    )


def _refuse_other_zip(path: Path) -> None:
    """Refuse a zip archive that ``torch.save`` has not written."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return  # cut short, perhaps: left to torch to say
    ends = {name.rpartition("/")[2] for name in names}
    if any("/code/" in name or name.startswith("code/") for name in names) and "data.pkl" in ends:
        _refuse(
            path,
            "is a TorchScript archive, which holds code",
            "where you trust it, torch.save(torch.jit.load(FILE).state_dict(), NEW) keeps its "
            "weights alone",
        )
    if "data.pkl" in ends:
        return
    if names and all(name.endswith(".npy") for name in names):
        _refuse(path, "is an .npz file of NumPy arrays", _OTHER_FRAMEWORK)
    if "model.weights.h5" in ends:
        _refuse(path, "is a Keras model", _OTHER_FRAMEWORK)
    if "archive_format" in ends or any(name.endswith(".pt2") for name in ends):
        _refuse(path, "is an exported program of torch.export", f"{_EXPORT} safetensors")
    _refuse(path, f"is a zip archive of {', '.join(sorted(names)[:3]) or 'nothing'}", _UNPACK)


def _refuse_tar(path: Path, head: bytes) -> NoReturn:
    first = head[:100].rstrip(b"\0").decode("utf-8", "replace")
    if first in ("sys_info", "pickle", "storages", "tensors"):
        _refuse(
            path,
            "has the form that PyTorch wrote before 0.2, which can only be read as code",
            "where you trust it, load it with torch.load(FILE, weights_only=False) and save its "
            "state dict again",
        )
    _refuse(path, f"is a tar archive of {shown_path(first)}", _UNPACK)


def _refuse_protocol_buffer(path: Path, head: bytes) -> None:
    if head.startswith(_ONNX_HEADS) and head[2:3] in _ONNX_NEXT and head[2:3]:
        _refuse(path, "is an ONNX model", _TO_SAFETENSORS)
    if head.startswith(_SAVED_MODEL):
        _refuse(path, "is a SavedModel of TensorFlow", _OTHER_FRAMEWORK)
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - len(_TABLE_END)))
        of_tensorflow = file.read() == _TABLE_END
    if of_tensorflow or ".data-0000" in path.name:
        _refuse(path, "is part of a TensorFlow checkpoint", _OTHER_FRAMEWORK)


def _refuse(path: Path, fault: str, cure: str) -> NoReturn:
    raise UserError(f"checkpoint {shown_path(path)} {fault}; {cure}")
