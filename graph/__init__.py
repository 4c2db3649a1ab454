"""The graph of experts: what they claim, what was measured of them, and which of them a prompt needs."""
