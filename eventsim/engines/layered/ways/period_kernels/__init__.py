"""Compiled code of :mod:`eventsim.engines.layered.ways.periods`: neurons with a refractory period, a stretch of at most a period at a time.

In such a stretch no neuron fires twice. So nothing has to stop where one fires: its potential goes on as if it had not, and the first
tick at which it was due and free is all that has to be known of it. It is found for many neurons at a time, without a branch, while
the spikes of the stretch are added up; its reset follows at the end of the stretch.

The ticks of a stretch at which something may happen, arrivals and the ends of refractory periods, are numbered in order: its *moments*,
from 1 on, 15 bits each. Spikes are listed by site as for :mod:`eventsim.engines.layered.ways.site_kernels`; an entry of a list is
``moment << 48 | moment << 32 | flags | place of the weights``, as vectors are filled with 32 bits sooner than with 16. Before the
first entry of a moment is added, those neurons are looked at that were free before it: who is due fired at the moment of the entry
before, or when it became free, whichever came later. What a neuron keeps of that is ``2 * moment + 1`` if its sign is negative, else
``2 * moment``; of all the smallest.

Potentials are added up in 16 bits also where they are kept in 32: who is far away from its threshold begins nearer to it, and is far
away nevertheless. Where that does not do, a block is run again in 32 bits.

Spikes come out site by site, and are put in order by counting those of each moment. The ring of :class:`State` has those that wait for
the end of their period; they are not parked.
"""
