"""The reports that accelsim ships, and the gallery of figures."""
