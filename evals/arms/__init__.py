"""Arms: ways of answering a prompt that an evaluation compares; one file an arm or a family of arms."""
