"""What one distribution may add to Forge: a connector, a trainer with its flavor, a listener and a command."""
