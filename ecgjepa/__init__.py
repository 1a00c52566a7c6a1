"""ECG-JEPA: representations of the 12-lead ECG learned without labels."""

__version__ = "0.1.0"
