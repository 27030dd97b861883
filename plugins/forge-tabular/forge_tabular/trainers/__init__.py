"""What makes models: one module per library."""
