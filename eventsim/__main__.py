"""``python -m eventsim``."""

from eventsim.cli.main import main

main()
