"""What the plugin registers, one module a system and one for the data; gathered by ``repcore_medical3d._plugin``."""
