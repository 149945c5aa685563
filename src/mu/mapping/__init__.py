"""`mu map` and `mu.map`: any program over any number of inputs, without code."""
