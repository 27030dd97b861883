"""forge-auth hears no hook: authorization is a driver's answer, not a listener's."""
