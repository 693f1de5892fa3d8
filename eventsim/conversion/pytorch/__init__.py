"""How PyTorch modules are read: recorded while they run, operator by operator. Needs PyTorch; nothing here is imported without it."""
