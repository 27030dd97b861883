"""The lake hears no hook; its connector is chosen by name and its commands are entry points."""
