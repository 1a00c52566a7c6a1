"""Models of the Hugging Face hub: load one, or publish one with a card that says what it is and what was measured."""

from ecgjepa.hub.download import from_pretrained
from ecgjepa.hub.upload import prepare_upload, push_to_hub

__all__ = ["from_pretrained", "prepare_upload", "push_to_hub"]
