"""The errors that a user's input can cause. The command line prints their message as one line."""


class EventsimError(Exception):
    """Base class: says what was found, what was expected, and what to do."""


class NetworkError(EventsimError, ValueError):
    """A network description that does not make sense (shapes, ranges, references, zero-delay cycles)."""


class NetworkFileError(EventsimError):
    """A file that is not a whole and valid network file."""


class InputError(EventsimError, ValueError):
    """An image, array or event list that the network cannot take."""


class RunError(EventsimError, ValueError):
    """Run settings that do not make sense (steps, resolution, exit rules, recording)."""


class PotentialOverflow(EventsimError, OverflowError):
    """A membrane potential that would leave the range of int32 (design: never a wrap-around)."""


class TraceError(EventsimError):
    """A file that is not a whole and valid trace."""


class DatasetError(EventsimError):
    """A data set file that is missing, damaged or of an unknown kind."""


class ConversionError(EventsimError):
    """A source network that cannot be converted: an operator that is not supported, weights or settings that do not fit."""


class HardwareError(EventsimError, ValueError):
    """An architecture file that makes no sense, or a network that does not fit the chip."""
