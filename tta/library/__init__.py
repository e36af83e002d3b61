"""What ``import tta`` offers to other programs: ``adapt``, ``evaluate``, ``load_runs``."""
