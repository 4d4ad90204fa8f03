"""What the plugin registers, one module a system; gathered by ``_plugin``."""
