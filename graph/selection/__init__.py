"""From what a prompt asks for to the few experts that draw it."""
