"""Runs tasks on workers: on Ray actors, or on one worker in this process."""
