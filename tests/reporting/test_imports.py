"""What reads records imports no torch, which would take longer than all the rest."""

import subprocess
import sys


def test_records_are_compared_without_torch():
    code = "import sys, tta.reporting.comparing.formats; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
