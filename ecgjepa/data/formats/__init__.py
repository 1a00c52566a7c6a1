"""One file a format: each turns a file into a `Recording` in mV with lead names, or refuses it by name."""
