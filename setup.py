"""What pyproject.toml cannot say: a built package carries the sample images and a network, whose place in the repository is elsewhere."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SAMPLES = ["networks/lenet-mnist.h5", *(f"datasets/samples/digit-{digit}.png" for digit in range(10))]


class BuildWithSamples(build_py):
    """Puts the samples into ``eventsim/sample_files``, where :mod:`eventsim.data.samples` finds them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the repository's own are there
        for name in SAMPLES:
            target = Path(self.build_lib, "eventsim", "sample_files", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(name, str(target))


setup(cmdclass={"build_py": BuildWithSamples})
