"""How the layered engine runs each kind of population."""
