"""The kernel's own plugin module; it hears no hook yet."""
