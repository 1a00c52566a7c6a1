"""A classifier on disk -> what it says of any ECG: probabilities, decisions, values."""
