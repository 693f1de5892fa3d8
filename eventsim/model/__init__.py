"""What a network is: populations, tables of synapses, and the file that holds them."""
