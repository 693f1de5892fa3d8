"""Running a population tick by tick, which is possible for all of them.

Ticks with few spikes, the usual case at high resolution, go through a loop of their own (``few``, and ``readout`` for populations that
do not fire); those with more are delivered all at once (``deliver``, ``scatter``, ``gather``). Who is due then is looked for among those
that were reached, or among all (``due``), and fires (``fire``).
"""
