"""``make gpu-check`` ends in time even if a part hangs, and reports what is missing. The driver is fake_driver.c."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_driver
import pytest

from patience import PATIENCE

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import gpu_check  # noqa: E402
from gpu_check import limited, page, parts_of, requirements  # noqa: E402

FOREVER = "import time; time.sleep(10**6)"
NEVER_RETURNS = "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); cuda.cuInit(0), cuda.cuCtxSynchronize()"
HUNG_KERNEL = "cuLaunch*:-1:1:later"


def python(code):
    return (sys.executable, "-c", code)


def wait_for(condition):
    """Wait until the condition is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def has_ended(pid):
    """Whether a process has ended, even if its parent has not waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def start(out, *arguments, **steer):
    """Start the whole check in a process, with the fake driver; the log of its calls is in ``out``."""
    variables = {name: text for name, text in os.environ.items() if not name.startswith(fake_driver.FOREIGN)}
    variables |= {f"FAKE_CUDA_{name.upper()}": str(value) for name, value in steer.items()}
    variables |= {"LD_LIBRARY_PATH": fake_driver.library(), "FAKE_CUDA_LOG": str(out / "calls")}
    command = [sys.executable, str(BENCHMARKS / "gpu_check.py"), "--out", str(out), *arguments]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def report_of(out):
    return json.loads((out / "report.json").read_text()), (out / "REPORT.md").read_text()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.mark.parametrize(
    "command, seconds, state, said",
    [
        (python("print('done')"), 300, "passed", "done"),
        (python("raise SystemExit('no')"), 300, "failed", "no"),
        (("/no/such/command",), 300, "failed", "No such file"),
        (python(FOREVER), 0.2, "timed out", ""),
        (python(FOREVER), -1, "timed out", ""),
    ],
)
def test_a_command_ends_or_is_killed(log, command, seconds, state, said):
    assert limited.run(command, log, seconds, os.environ, limited.Stop()) == (state, True)
    assert said in log.read_text()


def test_a_signal_ends_a_command_and_its_children(log):
    """Also children that ignore SIGTERM and keep the output open."""
    child = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {FOREVER}"
    code = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True); {FOREVER}"
    )
    stop = limited.Stop()

    def interrupt():
        wait_for(lambda: log.exists() and "ready" in log.read_text())
        stop._remember(signal.SIGTERM, None)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert limited.run(python(code), log, 600, os.environ, stop) == ("stopped", True)
    thread.join()
    pid = next(line for line in log.read_text().splitlines() if line.isdecimal())
    wait_for(lambda: has_ended(pid))


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
def test_a_process_that_cannot_be_killed_is_abandoned(log, monkeypatch):
    """For example one that is blocked in a system call."""
    spared = []
    monkeypatch.setattr(limited.os, "killpg", lambda pid, number: spared.append(pid))
    monkeypatch.setattr(limited, "REAP_SECONDS", 0.1)
    assert limited.run(python(FOREVER), log, 0.1, os.environ, limited.Stop()) == ("timed out", False)
    os.kill(spared[0], signal.SIGKILL)
    os.waitpid(spared[0], 0)


def test_a_log_is_written_continuously_and_ends_with_the_reason(log):
    code = f"""
import sys, time
sys.path.insert(0, {str(BENCHMARKS / "gpu")!r})
import limited
limited.TRACE_SECONDS = 0.1
def slow():
    time.sleep(1)
    sys.exit("the reason")
with limited.trace():
    slow()
"""
    assert limited.run(python(code), log, 300, os.environ, limited.Stop()) == ("failed", True)
    assert "in slow" in log.read_text()
    assert parts_of.result_of(parts_of.Part("x", "row", ()), "failed", log.read_text())[1] == "the reason"


def check(out, parts, seconds, minutes=10.0):
    """The entries of the parts in the report that check_parts writes to ``out``."""
    (out / "logs").mkdir()
    environment = os.environ | {"LD_LIBRARY_PATH": fake_driver.library(), "FAKE_CUDA_FAIL": "cuCtxSynchronize:-1"}
    report = {"platform": "here", "versions": {"numpy": "2.0"}, "problems": ["no GPU"], "bring": []}
    end = time.monotonic() + 60 * minutes
    gpu_check.check_parts(parts, report, out, end, seconds, limited.Stop(), environment)
    assert report_of(out)[0] == report
    return report["parts"]


def test_a_part_that_hangs_in_the_driver_is_reported_and_the_next_one_runs(tmp_path):
    hangs, other = parts_of.Part("row: hangs", "row", python(NEVER_RETURNS)), parts_of.Part("other", "row", ("true",))
    absent = parts_of.Part("torch: x", "torch", ("true",), "torch is not installed")
    found = check(tmp_path, [hangs, absent, other], seconds=2)
    assert [part["state"] for part in found] == ["timed out", "not run", "passed"]
    page = report_of(tmp_path)[1]
    assert "| row: hangs | timed out | " in page
    assert "| torch: x | not run |  | torch is not installed |" in page


def test_no_part_exceeds_the_total_time(tmp_path):
    parts = [parts_of.Part(name, "row", python(FOREVER)) for name in ("first", "second")]
    first, second = check(tmp_path, parts, seconds=10**6, minutes=(limited.REAP_SECONDS + 0.5) / 60)
    assert first["state"] == "timed out"
    assert (second["state"], second["said"]) == ("not run", "no time was left")


@pytest.mark.exhaustive
def test_sigterm_writes_a_report_and_ends_a_kernel_that_never_returns(tmp_path):
    run = start(tmp_path, "--only", "smoke", "--only", "row: mnist", "--seconds", "600", fail=HUNG_KERNEL)
    calls = tmp_path / "calls"
    wait_for(lambda: run.poll() is not None or (calls.exists() and "never" in calls.read_text()))
    run.send_signal(signal.SIGTERM)
    out, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 128 + signal.SIGTERM, out
    (smoke, row), text = report_of(tmp_path)[0]["parts"], report_of(tmp_path)[1]
    assert (smoke["state"], smoke["values"]["gpu"]) == ("stopped", "NVIDIA H200")
    assert (row["state"], row["said"]) == ("not run", "interrupted before")
    assert "| smoke | stopped |" in text


@pytest.mark.exhaustive
def test_rows_are_timed_and_reported(tmp_path):
    """The fake driver computes nothing, which the smoke test reports."""
    run = start(tmp_path, "--only", "smoke", "--only", "row: iris online")
    out, _ = run.communicate(timeout=PATIENCE)
    smoke, iris = report_of(tmp_path)[0]["parts"]
    assert run.returncode == 1
    assert "not passed: smoke" in out
    assert smoke["state"] == "failed"
    assert "differs from the reference" in smoke["said"]
    assert iris["state"] == "passed", (tmp_path / "logs" / "row_iris_online.log").read_text()
    assert iris["values"]["kernels"].startswith("one block of")
    assert f"| iris online | {iris['values']['seconds']:.3g} | " in report_of(tmp_path)[1]


def test_without_a_gpu_the_check_ends_immediately(tmp_path):
    run = start(tmp_path, devices=0)
    out, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1
    assert "not run on a GPU: no NVIDIA GPU was found" in out
    report, text = report_of(tmp_path)
    assert [(part["name"], part["state"]) for part in report["parts"]] == [("smoke", "not run")]
    assert "**Not run on a GPU.** no NVIDIA GPU was found" in text
    assert "| narrow 64 | at most" in text


def test_an_unknown_part_is_an_error():
    with pytest.raises(SystemExit, match="no part is called rows; there are: smoke, tests: each strategy once, row: "):
        gpu_check.chosen(parts_of.all_parts(Path("site")), ["smoke", "rows"])


def test_a_test_that_hangs_does_not_affect_the_others(tmp_path, monkeypatch):
    """The tests of a file are distributed over processes; each failure is in the log, with its reason."""
    monkeypatch.setattr(parts_of, "TEST_SECONDS", 3)
    monkeypatch.setattr(parts_of.os, "sched_getaffinity", lambda pid: range(3))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_three.py").write_text(
        "import os, pytest, time, warnings\n"
        "@pytest.mark.parametrize('case', ['of old, with spaces'])\n"
        "def test_one(case):\n"
        "    warnings.warn('another version')\n"
        "    assert os.environ['FASTMLP_GPU'] == '1'\n"
        "def test_two(): raise AttributeError('nothing there')\n"
        "def test_three(): time.sleep(10**6)\n"
        "def test_four(): pytest.skip('no')\n"
    )
    part, log = parts_of._tests("three", [tmp_path / "test_three.py"]), tmp_path / "log"
    state, _ = limited.run(part.command, log, 300, parts_of.environment(tmp_path), limited.Stop(), tmp_path)
    state, said, values = parts_of.result_of(part, state, log.read_text())
    assert (part.name, state) == ("tests: three", "failed")
    assert sorted(said.split(", ")) == ["1 passed", "1 skipped", "2 failed"]
    assert [name.split("::")[1] for name in sorted(values["failed"])] == ["test_three", "test_two"]
    assert "AttributeError: nothing there" in log.read_text()
    assert 'test_three.py", line 7 in test_three' in log.read_text()  # the line at which it hangs


def test_a_file_that_cannot_be_imported_is_reported_with_the_reason():
    part = parts_of.Part("tests: x", "tests", ())
    log = "collected 0 items / 1 error\nE   ImportError: needs scikit-learn\n!!! Interrupted: 1 error !!!\n"
    assert parts_of.result_of(part, "failed", log) == ("failed", "ImportError: needs scikit-learn", {})
    sanitized = "x.py::test_one PASSED [100%]\n========= ERROR SUMMARY: 3 errors\n"
    assert parts_of.result_of(part, "passed", sanitized)[:2] == ("failed", "1 passed")


def test_missing_and_unsuitable_packages_are_listed(monkeypatch):
    there = {"scikit-learn": "1.8.0", "numba-cuda": "0.31.1", "torch": None, "numpy": "2.1"}
    needed = {"numpy": ["scipy>=1 ; extra == 'other'", "numba>=99"]}
    monkeypatch.setattr(requirements, "installed", lambda name: there.get(name, "99.0"))
    monkeypatch.setattr(requirements, "requires", lambda name: needed.get(name))
    monkeypatch.setattr(requirements.shutil, "which", lambda *given, **options: None)
    versions, problems, bring = requirements.check(BENCHMARKS.parent / "pyproject.toml")
    text = "\n".join(problems)
    assert (versions["scikit-learn"], versions["torch"]) == ("1.8.0", "not installed")
    assert "scikit-learn 1.8.0: fastmlp needs <1.10,>=1.9; bring scikit-learn<1.10,>=1.9" in text
    assert "numba-cuda 0.31.1: backend cuda needs <0.31,>=0.30; bring numba-cuda[cu13]<0.31,>=0.30" in text
    assert "torch is not installed: timing torch needs >=2.5" in text
    assert "scipy" not in text
    assert "no C compiler" in text
    assert "no compute-sanitizer" in text
    assert {"scikit-learn<1.10,>=1.9", "torch>=2.5"} <= set(bring)
    assert "pip download" in requirements.how_to_bring(bring)[0]
    assert "'scikit-learn<1.10,>=1.9'" in requirements.how_to_bring(bring)[1]


def test_times_are_compared_with_torch_and_with_the_lower_bound():
    flops_rate, seconds = 1e12, 2.0
    values = {
        "torch: rates": {"flops_rate": flops_rate, "bytes_rate": 1e30}, "row: wide": {"seconds": seconds},
        "torch: wide": {"torch_seconds": 3.0}, "row: mnist": {"seconds": 1.0},
    }  # fmt: skip
    table = page.table_of([{"name": name, "values": found} for name, found in values.items()])
    row = page.ROWS["wide"]
    assert table["wide"]["times_torch"] == 1.5
    assert table["wide"]["times_floor"] == pytest.approx(seconds / (page.flops(row) / flops_rate))
    assert table["wide"]["samples_per_second"] == row.batch / seconds
    assert "times_torch" not in table["mnist"]
