"""Hardware: the same run on a chip that takes time and energy. Architectures, placement, replay; see docs/hardware.md."""
