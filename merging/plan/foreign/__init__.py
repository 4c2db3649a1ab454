"""Recipes that other programs left in their images: one file a program, all read into one `recipe.ForeignRecipe`.

Adding a program: a new file here, or in your own package under the entry-point group ``diffgraph.image_recipes``, with
a function under ``@reader("name", title="…", order=…)`` (see `reader.py`). Nothing else is edited. No file here opens
weights, and nothing that a stranger wrote is taken as more than text and numbers.
"""
