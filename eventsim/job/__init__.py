"""A run, in integers: what engines take and what they give back."""
