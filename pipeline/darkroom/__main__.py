"""`python -m darkroom <job> key=value ...`, the same as the `darkroom` command."""

from darkroom.jobs.cli import main

main()
