"""The command line: ``main`` routes, one module a command, ``console`` prints. Commands are imported when called."""
