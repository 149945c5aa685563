"""Records of runs, and statistics and pictures that are made from them."""
