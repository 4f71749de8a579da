"""Print the oldest versions that pyproject.toml allows, as constraints for pip: python oldest_dependencies.py cli,onnx.

These are the packages of ``dependencies`` and of the extras that are named. 'make test-oldest' installs them.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w-]+)(?:\[(?P<extras>[\w,-]+)\])?(?:>=(?P<version>[\w.]+))?")


def oldest(extras, project):
    """{package: oldest version allowed} of the dependencies and of some extras, including those that they name."""
    found, left = {}, [*project["dependencies"]]
    optional = project["optional-dependencies"]
    left += [requirement for extra in extras for requirement in optional[extra]]
    while left:
        requirement = REQUIREMENT.match(left.pop())
        if requirement["name"] == project["name"]:
            left += [one for extra in requirement["extras"].split(",") for one in optional[extra]]
        else:
            found[requirement["name"]] = requirement["version"]
    return found


if __name__ == "__main__":
    for name, version in sorted(oldest(sys.argv[1].split(","), tomllib.loads(PROJECT.read_text())["project"]).items()):
        print(f"{name}=={version}")
