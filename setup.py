"""What pyproject.toml cannot say: where templates are installed, and the addresses of the repository that builds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithTemplates(build_py):
    """Copies `templates/`, which stays at the top level of the repository, to `noa_site/templates` of the wheel."""

    def run(self) -> None:
        super().run()
        # An editable installation uses the checkout's own folder.
        if not self.editable_mode:
            shutil.copytree(ROOT / "templates", Path(self.build_lib, "noa_site", "templates"), dirs_exist_ok=True)


def project_urls() -> dict[str, str]:
    """Those of the repository whose workflow builds; none elsewhere, as a checkout has no address of its own."""
    server, repository = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    if not server or not repository:
        return {}
    home = f"{server}/{repository}"
    return {
        "Homepage": home,
        "Documentation": f"{home}/tree/main/docs",
        "Changelog": f"{home}/blob/main/CHANGELOG.md",
        "Issues": f"{home}/issues",
        "Security": f"{home}/security/policy",
    }


setup(cmdclass={"build_py": BuildWithTemplates}, project_urls=project_urls())
