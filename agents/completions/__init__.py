"""Talking to a server that speaks OpenAI's chat completions: the client, and what its answers hold."""
