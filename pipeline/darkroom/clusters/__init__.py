"""Jobs that run elsewhere: what a cluster can see, manifests for it, and the programs and calls that hand a job over."""
