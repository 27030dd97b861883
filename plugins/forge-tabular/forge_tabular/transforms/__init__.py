"""Feature engineering on Arrow and numpy: one module per transform."""
