"""Reading the files of checkpoints, told apart by their content, without running what they hold."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tta.backbones.checkpoint_head import checkpoint_head, is_safetensors
from tta.foundation.errors import UserError
from tta.foundation.inputs import shown_path
from tta.foundation.pickles import DAMAGE, SAFE_SINCE, load_pickle, pickles_are_safe


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint that has been read.

    Attributes:
        path: the file.
        content: what it holds: tensors and plain values.
        form: how it is stored, in words, where its name says otherwise; else empty.
        metadata: what the header of a safetensors file says beside the tensors.
    """

    path: Path
    content: Any
    form: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> CheckpointFile:
    """Read a safetensors file or a checkpoint of ``torch.save``, whatever its name ends in.

    Raises:
        UserError: the file is missing, unreadable, damaged, no checkpoint, or would run code.
    """
    path, head = checkpoint_head(path)
    named_safetensors = path.suffix.lower() == ".safetensors"
    if is_safetensors(head):
        form = "" if named_safetensors else "safetensors by its content"
        tensors, metadata = _read_safetensors(path)
        return CheckpointFile(path, tensors, form, metadata)
    form = "a pickle of torch.save by its content" if named_safetensors else ""
    return CheckpointFile(path, _read_torch(path), form)


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (SafetensorError, *DAMAGE) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    if not pickles_are_safe():
        needed = ".".join(map(str, SAFE_SINCE))
        raise UserError(
            f"refused checkpoint {shown_path(path)}: it is a pickle, and torch {torch.__version__} "
            f"can be made to run code by one; upgrade to torch {needed} or newer, or convert it to "
            "safetensors where you trust it"
        )
    try:
        with path.open("rb") as file:  # by its path, torch would go by its suffix
            # Training scripts keep their arguments in a Namespace; it runs nothing.
            content = load_pickle(file, "cpu", [argparse.Namespace])
        _check_sums(path)
        return content
    except pickle.UnpicklingError as error:
        if "magic number" in str(error):
            raise _damaged(path, error) from error
        raise _refused_pickle(path, str(error)) from error
    except (zipfile.BadZipFile, *DAMAGE) as error:
        raise _damaged(path, error) from error


def _check_sums(path: Path) -> None:
    """Compare the checksums in a file of ``torch.save``, which torch itself passes over.

    Files from before torch 1.6 are no archives and have none.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        wrong = archive.testzip()
    if wrong is not None:
        raise OSError(f"the checksum of {shown_path(wrong)} in it is wrong")


def _refused_pickle(path: Path, error: str) -> UserError:
    found = re.search(r"GLOBAL (\S+)", error)
    name = found[1] if found else ""
    if re.match(r"(__main__|torch\.nn|torchvision\.models|timm|transformers)\b", name):
        return UserError(
            f"refused checkpoint {shown_path(path)}: it holds a pickle that would run code on "
            f"loading, most likely a whole model ({name}); save model.state_dict() of it, as "
            "safetensors or with torch.save, where you trust it"
        )
    return UserError(
        f"refused checkpoint {shown_path(path)}: it holds a pickle that would run code on loading"
        + (f" ({name})" if name else "")
        + "; convert its weights to safetensors where you trust it"
    )


def _damaged(path: Path, error: BaseException) -> UserError:
    reason = re.split(r"[.\n]", str(error))[0][:120] or type(error).__name__
    return UserError(
        f"checkpoint {shown_path(path)} is damaged or cut short ({reason}); download or copy it "
        "again"
    )
