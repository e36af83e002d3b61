"""What is typed: one module per command parses its options, does the work, and prints."""

COMMANDS = {
    "run": "run one adaptation method over one stream",
    "compare": "put runs side by side: errors, costs, paired tests",
    "sweep": "run a grid of methods, data sets, scenarios and seeds",
    "plot": "draw runs, or the domains of a data set, for a paper",
    "report": "write one self-contained page of runs",
    "check": "check what a method of one's own does not keep",
    "list": "list methods, data sets, scenarios, backbones and more",
    "get": "download a published data set, or check one on disk",
    "published": "put our figures beside those of the papers",
    "generate-corrupted": "write CIFAR-10-C, CIFAR-100-C or ImageNet-C to disk",
    "train-source": "train a source model on one or several domains",
    "completion": "print what makes bash, zsh or tcsh complete all this",
}
"""By name; ``tta.commands.NAME`` has its ``parser`` and ``main``, and is imported when called."""


def module_of(command: str) -> str:
    """Return the module of one of :data:`COMMANDS`."""
    return f"tta.commands.{command.replace('-', '_')}"
