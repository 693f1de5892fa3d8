"""Data sets of recordings: folders of files, a subfolder a class, and MNIST's digits before a simulated camera."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.data.image_sets import Dataset, FolderDataset
from eventsim.data.recordings.events import Recording
from eventsim.data.recordings.reading import SUFFIXES, read_recording
from eventsim.data.recordings.saccades import SIZE, saccades
from eventsim.errors import DatasetError, InputError

# As many as neurons of any network.
_MOST_PIXELS = 2**24

# The name of the simulated set.
SIMULATED = "mnist-saccades"


class RecordingFolder(FolderDataset):
    """A folder of recordings: one subfolder per class, or recordings alone."""

    suffixes = SUFFIXES

    def _image(self, index: int) -> npt.NDArray[Any]:
        return self.recording(index).events

    def remarks(self, index: int) -> list[str]:
        return []

    def arrays(self) -> Any:
        raise DatasetError(f"{self.name}: recordings, which one array does not hold")

    def as_images(self) -> Dataset:
        return Frames(self)

    def recording(self, index: int) -> Recording:
        """A recording.

        Raises
        ------
        DatasetError
            Its file is damaged or missing.
        """
        path = self.files[index]
        try:
            with open(path, "rb") as stream:
                return read_recording(stream, str(path), self.reading.fields)
        except (InputError, OSError) as error:
            text = str(error) if isinstance(error, InputError) else f"{path}: cannot be read ({error.strerror or error})"
            raise DatasetError(text) from None


class Saccades(Dataset):
    """Images of 28 x 28 pixels before a simulated camera (:mod:`eventsim.data.recordings.saccades`).

    Parameters
    ----------
    name : str
    images : Dataset
    """

    def __init__(self, name: str, images: Dataset) -> None:
        super().__init__(name, images.split, images.classes, images.labels)
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def _image(self, index: int) -> npt.NDArray[Any]:
        return saccades(self._images[index][None, :, :, 0])[0]

    def digest(self, numbers: npt.NDArray[np.int64]) -> str:
        """That of the images: they say it all."""
        return self._images.digest(numbers)

    def arrays(self) -> Any:
        raise DatasetError(f"{self.name}: recordings, which one array does not hold")

    def as_images(self) -> Dataset:
        return Frames(self)

    def recording(self, index: int) -> Recording:
        return Recording(self._image(index), (SIZE, SIZE), f"{self.name}: recording {index}")


class Frames(Dataset):
    """Recordings as images: the events of each pixel, the most of them white."""

    def __init__(self, recordings: Dataset) -> None:
        super().__init__(recordings.name, recordings.split, recordings.classes, recordings.labels)
        self._recordings = recordings

    def __len__(self) -> int:
        return len(self._recordings)

    def _image(self, index: int) -> npt.NDArray[np.uint8]:
        found = self._recordings.recording(index)
        assert found is not None
        events = found.events
        width, height = found.size or (int(events["x"].max(initial=0)) + 1, int(events["y"].max(initial=0)) + 1)
        if width * height > _MOST_PIXELS:
            raise DatasetError(f"{self.name}: recording {index} has {width} x {height} pixels, more than {_MOST_PIXELS:,}")
        place = events["y"].astype(np.int64) * width + events["x"]
        number = np.bincount(place, minlength=width * height)
        return np.minimum(255, number * 255 // max(1, int(number.max()))).astype(np.uint8).reshape(height, width, 1)

    def arrays(self) -> Any:
        raise DatasetError(f"{self.name}: recordings, whose cameras may differ in size")


def holds_recordings(folder: Path) -> bool:
    """Whether most files of a folder whose names tell what they are, are named as recordings: of those in its subfolders, if there are any.

    (Hidden ones do not count; and a table beside images, or a picture beside recordings, is neither's set.)
    """
    within, beside = [0, 0], [0, 0]
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        counts = beside if Path(where) == folder else within
        for file in files:
            suffix = Path(file).suffix.lower()
            if not file.startswith(".") and suffix in SUFFIXES | FolderDataset.suffixes:
                counts[suffix in SUFFIXES] += 1
    images, recordings = within if any(within) else beside
    return recordings > images
