"""`kiva-relay mapping schema`: a JSON Schema of mapping files, for editors."""

import json
import sys

from kiva_relay.mapping import schema


def command() -> None:
    """Print a JSON Schema of mapping files: with it any editor completes and checks them.

    In the first line of a mapping:  # yaml-language-server: $schema=/etc/kiva-relay/mapping.schema.json
    """
    sys.stdout.write(json.dumps(schema.render(), indent=2, ensure_ascii=False) + "\n")
