"""Domains whose names have commas."""

import json

import numpy as np
import torch

from tta.commands.run import main


def own_data(folder):
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    domains = np.repeat([0, 1], 6)
    names = np.array(["salt, pepper", "fog"])
    np.savez(
        folder / "a.npz", images=images, labels=np.arange(12) % 4, domains=domains, names=names
    )
    import timm

    import tta.backbones.nets  # noqa: F401 - registers the net

    torch.save(timm.create_model("cifar_resnet20").state_dict(), folder / "w.pth")


def test_a_name_with_a_comma_stands_in_quotes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own_data(tmp_path)
    run = ["--dataset", "arrays:a.npz", "--backbone", "cifar_resnet20", "--weights", "w.pth"]
    run += ["--json"]
    assert main([*run, "--domains", 'fog, "salt, pepper"']) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [row["domain"] for row in summary["domains"]] == ["fog", "salt, pepper"]
    assert main([*run, "--domains", "salt, pepper"]) == 2
    error = capsys.readouterr().err
    assert "no domain 'salt'" in error
    assert """a name with a comma stands in double quotes: --domains '"A, B",C'""" in error
    assert main([*run, "--domains", '"fog']) == 2
    assert "is no list of names" in capsys.readouterr().err
