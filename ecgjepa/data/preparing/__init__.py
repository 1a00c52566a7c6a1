"""How `ecgjepa.data.prepare` gets from a listing to a store: chunks, a building folder, engines, tables."""
