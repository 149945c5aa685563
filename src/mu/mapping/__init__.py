"""`mu map` and `mu.map`: run any program over any number of inputs, without writing a job."""
