"""Fuzz targets of the C kernels, and their seeds. `ci/fuzz` builds and runs them."""
