"""What makes files of models: one module per format, each read strictly and never executed."""
