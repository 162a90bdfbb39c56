#!/usr/bin/env python
"""Django's command line, with NOA's settings."""

import os
import sys

from django.core.management import execute_from_command_line

from noa_site import streams

if __name__ == "__main__":
    streams.open_missing()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "noa_site.settings")
    execute_from_command_line(sys.argv)
