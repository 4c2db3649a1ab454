"""The recipe of the embedded world: artwork, base, experts, scorers, cards, and how they are laid out as a hub."""
