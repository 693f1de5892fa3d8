"""The options of tests/conftest.py, by which `.ci/run` runs again what was skipped, and that alone."""

from __future__ import annotations

import shutil
import subprocess
import sys

from repository import ROOT

FILES = {
    "test_whole.py": "import pytest\n\npytest.importorskip('nowhere')\n\ndef test_one():\n    pass\n",
    "test_some.py": "import pytest\n\n@pytest.mark.parametrize('x', ['a::b', 'c'])\ndef test_two(x):\n    if x != 'c':\n"
    "        pytest.importorskip('nowhere')\n",
    "test_none.py": "def test_three():\n    pass\n",
}


def run(folder, *options):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_was_skipped_runs_once_it_can(tmp_path):
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\npythonpath = .\n")
    for name, text in FILES.items():
        (tmp_path / "tests" / name).write_text(text)
    assert "2 passed, 2 skipped" in run(tmp_path, "-n", "1", "--note-skipped=skipped")
    assert (tmp_path / "skipped").read_text() == "tests/test_some.py::test_two[a::b]\ntests/test_whole.py\n"
    (tmp_path / "nowhere.py").touch()
    said = run(tmp_path, "--noted=skipped")
    assert "2 passed, 1 deselected" in said
    assert "tests/test_some.py::test_two[a::b] PASSED" in said
    assert "tests/test_whole.py::test_one PASSED" in said
