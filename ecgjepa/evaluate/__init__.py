"""From an encoder to numbers and pictures: features, probe, statistics, report."""
