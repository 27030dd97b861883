"""The kernel's own drivers, registered through entry points like a stranger's."""
