import os
import subprocess
import sys
import time
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
# Starts a module that takes a minute, says which process that is, and is gone.
STARTER = """
import os, subprocess, sys
os.environ["HF_CONFORMANCE_GROUPED"] = str(os.getpid())
child = subprocess.Popen(
    [sys.executable, "-m", "exporter.start", "timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"],
    start_new_session=True,
    stdout=subprocess.DEVNULL,
)
print(child.pid)
"""


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_ends_with_who_started_it_however_early_that_was_gone() -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    said = subprocess.run([sys.executable, "-c", STARTER], env=environment, capture_output=True, check=True)
    child = int(said.stdout)
    for _ in range(300):
        if not _runs(child):
            return
        time.sleep(0.1)
    os.killpg(child, 9)
    raise AssertionError("it runs on")


def test_a_module_gets_its_own_arguments() -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    environment.pop("HF_CONFORMANCE_GROUPED", None)
    said = subprocess.run(
        [sys.executable, "-m", "exporter.start", "timeit", "-n", "1", "-r", "1", "pass"],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert b"1 loop" in said.stdout
