"""Engines: each runs a :class:`eventsim.job.Job` and returns the same :class:`eventsim.job.Counts`, spike for spike."""
