"""Engines: each runs a :class:`eventsim.job.job.Job` and returns the same :class:`eventsim.job.job.Counts`, spike for spike."""
