"""Files of clients -> windows, read by processes that may be ended, under names of our own."""
