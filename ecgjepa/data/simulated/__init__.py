"""The heart, its people and their noise, as far as synthetic ECGs need them."""
