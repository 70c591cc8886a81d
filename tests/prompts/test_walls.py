"""What this room must never import: it runs on the driver before anything heavy is loaded."""

import subprocess
import sys


def test_the_room_loads_nothing_heavy() -> None:
    heavy = "torch", "ray", "hydra", "omegaconf", "boto3", "diffusers", "pandas"
    code = f"import sys, darkroom.prompts.source; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
