"""Images of an evaluation that the network got wrong, looked up in their data set."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventsim.analysis.evaluation import Evaluation
from eventsim.data.datasets import open_dataset
from eventsim.data.image_sets import Dataset
from eventsim.data.manifest import known_sets
from eventsim.data.recording_sets import SIMULATED
from eventsim.data.recordings.fitting import Reading
from eventsim.errors import DatasetError


@dataclass(frozen=True, eq=False)
class Mistake:
    """An image whose final decision is wrong.

    Attributes
    ----------
    number : int
        In the data set.
    truth, answer : str
        Names of the label and the decision; ``"none"`` where there is no decision.
    latency : float or None
        When the decision was final, in steps.
    pixels : uint8 (height, width, channels)
        As the data set has them.
    """

    number: int
    truth: str
    answer: str
    latency: float | None
    pixels: npt.NDArray[np.uint8]


def some_mistakes(evaluation: Evaluation, dataset: Dataset | str | os.PathLike[str] | None = None, most: int = 32) -> list[Mistake]:
    """So many of the images that the network got wrong, spread evenly over all of them, in the order of the data set.

    Parameters
    ----------
    evaluation : Evaluation
        Its data set has labels.
    dataset : Dataset, str or path-like, optional
        Where the images are. Default: the known set that the evaluation names.
    most : int

    Raises
    ------
    DatasetError
        The data set is not there, is a folder that only the user can name, or its images are not those that were evaluated.
    RunError
        There are no labels.
    """
    wrong = np.flatnonzero(evaluation.wrong())
    if not len(wrong) and dataset is None:
        return []
    # (What the user names is looked at, too, where there is nothing to show.)
    data = dataset if isinstance(dataset, Dataset) else _open(evaluation, dataset)
    labels = None if data.labels is None else data.labels
    if (
        labels is None
        or evaluation.image.max(initial=-1) >= len(data)
        or data.selection(evaluation.image) != evaluation.info.settings.get("selection")
    ):
        raise DatasetError(f"{data.name}: its images are not those that were evaluated")
    shown = wrong[np.linspace(0, len(wrong) - 1, min(most, len(wrong))).astype(np.int64)]
    ticks = evaluation.array("decision_tick")
    pictures = data.as_images()
    return [
        Mistake(
            number=int(evaluation.image[i]),
            truth=evaluation.label_of(int(labels[evaluation.image[i]])),
            answer=evaluation.label_of(int(evaluation.prediction[i])) if evaluation.prediction[i] >= 0 else "none",
            latency=int(ticks[i]) / evaluation.info.resolution if ticks[i] > 0 else None,
            pixels=pictures[int(evaluation.image[i])],
        )
        for i in shown.tolist()
    ]


def _open(evaluation: Evaluation, dataset: str | os.PathLike[str] | None) -> Dataset:
    settings = evaluation.info.settings
    name, split = str(settings.get("dataset")), str(settings.get("split"))
    if dataset is None:
        # A file from elsewhere names no folder of ours.
        if name not in (*known_sets(), SIMULATED):
            raise DatasetError(f"the data set {name!r} is a folder; name it with --dataset")
        return open_dataset(name, split)
    fields, unit = (value if isinstance(value, str) else None for value in map(settings.get, ("fields", "time_unit")))
    # A folder without splits calls its only one "all".
    return open_dataset(dataset, split if split != "all" else "test", reading=Reading.parsed(None, fields=fields, time_unit=unit))
