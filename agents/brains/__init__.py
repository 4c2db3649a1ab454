"""Brains: the chat models behind the agents, and the messages between them and the machine."""
