"""Where the records of a data set are, and what is known of them besides their signal."""
