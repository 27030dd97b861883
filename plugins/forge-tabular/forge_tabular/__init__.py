"""Models of tables: trainers, flavors, metrics and transforms, each loaded when its name is chosen."""
