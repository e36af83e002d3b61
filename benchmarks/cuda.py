"""Checks and measurements of a GPU in one command.

    python benchmarks/cuda.py        # needs a CUDA device; writes results/cuda.md

Agreement of every method with its CPU run, freedom from waits for the device, graph capture of
the alpha-BN forward, time ratios, images per second, peak memory.
"""

# Nothing is imported above: to scripts in this folder, this file stands for the package `cuda`
# that torch looks for when it is imported.

if __name__ == "__main__":
    from timing.gpu import main

    raise SystemExit(main())
