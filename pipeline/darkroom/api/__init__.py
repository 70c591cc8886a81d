"""What a program, a notebook and the command line call: typed values in, typed results out, nothing printed."""
