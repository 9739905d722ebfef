"""Names the platform of the wheel: any Python 3, but the system that the programs in it were built for."""

import os

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Platform(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{os.environ['OFA_PLATFORM']}"
