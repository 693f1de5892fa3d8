"""The ways to run a population of the layered engine."""
