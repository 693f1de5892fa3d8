"""The images of a data set as a network takes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eventsim.data.image_sets import Dataset
from eventsim.data.images import fit_image
from eventsim.errors import InputError


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
        Those of the options that are on.
    """

    def __init__(self, data: Dataset, shape: tuple[int, ...], invert: bool, crop: bool):
        self.data = data
        self._shape = shape
        self.options = {name: True for name, wanted in (("invert", invert), ("crop", crop)) if wanted}

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
