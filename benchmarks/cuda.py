"""Checks and measurements of a GPU in one command.

    python benchmarks/cuda.py                             # 8 minutes; writes results/cuda_report.md
    python benchmarks/cuda.py --device cpu --rehearse     # the same on small networks, no GPU

Agreement of every method with its CPU run, graph capture of the alpha-BN forward, freedom from
waits for the device, time ratios, images per second, memory. The report is written row by row.
From a checkout that is not installed: `PYTHONPATH=. python3 benchmarks/cuda.py`.
"""

# Nothing is imported above: to scripts in this folder, this file stands for the package `cuda`
# that torch looks for when it is imported.

if __name__ == "__main__":
    from timing.gpu import main

    raise SystemExit(main())
