"""eventsim: exact event-driven simulation of binary spiking neural networks."""
