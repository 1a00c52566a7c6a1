"""The network: tokens, cross-pattern attention, encoder, predictor, JEPA."""
