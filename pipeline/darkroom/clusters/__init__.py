"""Jobs that run elsewhere: what a cluster sees, manifests for it, and the programs and calls that take them."""
