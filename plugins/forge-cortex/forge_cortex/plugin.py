"""The plugin module of forge-cortex: it hears no hook; its drivers are named in the distribution's entry points."""
