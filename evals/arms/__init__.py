"""Arms: ways of answering a prompt that an evaluation compares."""
