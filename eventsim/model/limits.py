"""What a network may have at most: it bounds what a file can make an engine allocate, and what integers have to hold."""

# Of potentials, and of thresholds and currents: int32.
POTENTIAL_MIN, POTENTIAL_MAX = -(2**31), 2**31 - 1
WEIGHT_LIMIT = 2**31 - 1
# More than any published network of this kind by far.
# A run takes about 80 to 100 bytes a neuron; the largest convolutional networks for 224x224 pixels have 14 million.
MAX_NEURONS = 2**24
MAX_POPULATIONS = 2**12
MAX_PROJECTIONS = 2**14
# Pooling after a convolution enlarges its stencil, and so do channels that it does not take or that have vectors with others; more than
# this is surely a mistake.
MAX_FUSED_WEIGHTS = 2**26
# Synapses that compiled code lists one by one for a table that is stored compactly: five bytes or more each.
MAX_LISTED_SYNAPSES = 2**27
# Positions along an axis times taps of a kernel: what is found of them takes 50 bytes a pair.
MAX_AXIS_PAIRS = 2**24
# Delays and refractory periods, in steps.
MAX_PERIOD = 1e6
# A step of recorded events, in microseconds.
MAX_STEP_US = 10**9
