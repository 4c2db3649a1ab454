"""Critics: what judges an image against a request at run time."""
