"""What strangers write about experts, made into known fields: plain text, triggers, weights, licences, facets."""
