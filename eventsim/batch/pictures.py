"""The images of a data set as a network takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventsim.data.image_sets import Dataset
from eventsim.data.images import fit_image
from eventsim.data.recordings import frames
from eventsim.data.recordings.fitting import fit_recording
from eventsim.errors import InputError
from eventsim.job.recordings import recording_inputs
from eventsim.model.network import Network


class Pictures:
    """Images of a data set, fitted to what a network takes when they are asked for.

    Parameters
    ----------
    data : Dataset
    shape : (height, width, channels)
        Of the network's input.
    invert, crop : bool
        See :func:`eventsim.data.images.fit_image`.

    Attributes
    ----------
    options : dict
        Those of the options that are on, of recordings with what they say.
    """

    def __init__(self, data: Dataset, shape: tuple[int, ...], invert: bool, crop: bool):
        self.data = data
        self._shape = shape
        self.options: dict[str, Any] = {name: True for name, wanted in (("invert", invert), ("crop", crop)) if wanted}

    @property
    def choices(self) -> list[Any]:
        """The options for the keys of what is kept: an option that is on by its name, of recordings with what it says; JSON values."""
        return [name if value is True else [name, value] for name, value in self.options.items()]

    def __getitem__(self, number: int) -> npt.NDArray[np.uint8]:
        """An image: uint8, in the network's input shape.

        Raises
        ------
        InputError
            It cannot be fitted.
        DatasetError
            Its file is damaged or missing.
        """
        return self._fit(number)[0]

    def remarks(self, number: int) -> list[str]:
        """What has to be changed of an image."""
        return [*self.data.remarks(number), *self._fit(number)[1]]

    def _fit(self, number: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
        try:
            return fit_image(self.data[number], self._shape, **self.options)
        except InputError as error:
            raise InputError(f"{self.data.name}: image {number}: {error}") from None


class Recordings(Pictures):
    """Recordings of a data set, fitted to a network: to its event input, or as counts of each pixel's events to its image.

    Parameters
    ----------
    data : Dataset
        Of recordings.
    shape : (height, width, channels)
    name : str or None
        The event input; None: the network takes an image.
    """

    def __init__(self, data: Dataset, shape: tuple[int, ...], name: str | None):
        super().__init__(data, shape, False, False)
        self._name = name
        self.options = data.reading.facts()

    def __getitem__(self, number: int) -> Any:
        """What :meth:`eventsim.Simulator.run` takes."""
        events = self._fitted(number)[0]
        return frames.accumulated(events, self._shape) if self._name is None else {self._name: events}

    def remarks(self, number: int) -> list[str]:
        """What has to be changed of a recording."""
        counted = ["events of each pixel are counted"] if self._name is None else []
        return [*self._fitted(number)[1], *counted]

    def _fitted(self, number: int) -> tuple[npt.NDArray[Any], list[str]]:
        found = self.data.recording(number)
        assert found is not None
        return fit_recording(found, self._shape, self.data.reading)


def _check_classes(network: Network, data: Dataset) -> None:
    if not len(data):
        raise InputError(f"{data.name}: has no images")
    if data.labels is None or network.output is None:
        return
    outputs = network.populations[network.output].size
    if int(data.labels.max()) >= outputs:
        raise InputError(
            f"{data.name} has {int(data.labels.max()) + 1} classes, the network tells {outputs} apart; evaluate it on its own data"
        )
    # A folder without some of the classes numbers the others otherwise.
    names = network.labels or []
    moved = next((i for i, name in enumerate(data.classes) if name in names and names[i] != name), None)
    if moved is not None and set(data.classes) <= set(names):
        name = data.classes[moved]
        raise InputError(
            f"{data.name}: class {name} is number {moved} of {len(data.classes)} there, and output {names.index(name)} of the network; "
            "make a folder for each of the network's classes (empty ones count)"
        )


def pictures_of(network: Network, data: Dataset, invert: bool = False, crop: bool = False) -> Pictures:
    """A data set as a network takes it.

    Raises
    ------
    InputError
        The network takes neither an image nor a recording, the set has none for it, or its classes are not the network's outputs.
    """
    _check_classes(network, data)
    recorded, inputs = len(data) > 0 and data.recording(0) is not None, recording_inputs(network)
    if network.input is None and len(inputs) != 1:
        raise InputError("an evaluation needs a network that takes an image or a recording and has an output readout")
    if recorded and (invert or crop):
        raise InputError(f"{data.name}: recordings are taken as they are; inverting and cropping is for images")
    if network.input is None:
        ((name, population),) = inputs.items()
        if not recorded:
            raise InputError(f"{data.name}: images, and the network takes recordings; evaluate it on a set of those (docs/events.md)")
        return Recordings(data, population.shape, name)
    if not recorded:
        return Pictures(data, network.input.shape, invert, crop)
    if network.input.shape[2] not in frames.CHANNELS:
        raise InputError(f"{data.name}: recordings, and the network takes images of {network.input.shape[2]} channels; expected 1 or 2")
    return Recordings(data, network.input.shape, None)
