"""What compiled code is made of."""
