"""YAML as people write it: without tags and dates, and with 1e-4 as a number."""

import re

import yaml

FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|INF)|\.(nan|NAN)")


class Loader(yaml.SafeLoader):
    """YAML without tags and dates, in which 1e-4 is a number (YAML 1.1 takes it for text)."""


Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in pairs if not tag.endswith((":float", ":timestamp"))]
    for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"^({FLOAT.pattern})$"), list("-+0123456789.")
)
# The first pattern that fits wins: whole numbers are tried before floats.
for _letter, _pairs in Loader.yaml_implicit_resolvers.items():
    _pairs.sort(key=lambda pair: pair[0].endswith(":float"))
