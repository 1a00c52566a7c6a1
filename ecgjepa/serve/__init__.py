"""A page and an API: look at ECGs through the representation. Imports nothing, as each process that reads would too."""
