"""``python -m eventsim``."""

from eventsim.cli import main

main()
