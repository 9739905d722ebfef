"""`ofa`, the once-for-all architecture-search engine, as a package: a program and the bundles that ship, no Python API."""
