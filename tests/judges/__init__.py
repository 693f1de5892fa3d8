"""What the tests judge by: an independent dense loop, random networks, files changed on purpose."""
