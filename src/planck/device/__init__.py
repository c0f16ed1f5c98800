"""Memory, code loading and threads of each kind of device."""
