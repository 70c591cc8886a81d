"""Prompts made richer by a language model: what it is asked, its answers, and the prompt set of them."""
